"""Speed of the methods on cached features, as ratios and milliseconds measured in one run.

`prolip` at FGVC-Aircraft's size: 1600 images, 768 to 512 dimensions, 100 classes, full-batch steps, seeds and λ side by
side; beside it the four matrix products that a step consists of, on the same machine in turn. The closed forms with
3333 images to answer, from the support to the last logit.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import numpy as np

from benchmarks.engine import Cost, cost
from methods import Method, Projection, Replica, Support, Task, unit
from methods.gda import GaussianDiscriminant
from methods.knn import NearestNeighbours
from methods.nearest_mean import NearestMean
from methods.prolip import ProLIP
from methods.ridge import Ridge
from workflow.lib.evaluation import engines

SHOTS, CLASSES, QUERIES = 16, 100, 3333
BEFORE, AFTER = 768, 512
IMAGES = SHOTS * CLASSES
SEEDS, PENALTIES = 2, (0.0, 1 / SHOTS)
STEPS = 10  # of the 300 in a round: they are all alike
CLOSED: Sequence[type[Method]] = (NearestMean, NearestNeighbours, Ridge, GaussianDiscriminant)


def made_task(dim: int, method: type[Method]) -> Task:
    """Random features: speed doesn't depend on what they are."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return unit(rng.normal(size=shape)).astype(np.float32)

    labels = np.repeat(np.arange(CLASSES), SHOTS)
    supports = {seed: Support(drawn(IMAGES, dim), labels) for seed in range(SEEDS)}
    projection = Projection(drawn(dim, AFTER), np.zeros(AFTER, np.float32))
    names, engine = [str(k) for k in range(CLASSES)], engines.engine(method)
    text = drawn(CLASSES, AFTER)
    return Task(supports, names, str(SHOTS), text, engine=engine, curve=1, text_raw=text, projection=projection)


def training() -> tuple[Callable[[], object], int]:
    """A few steps of `prolip`, and how many steps of a replica that is."""
    task, params = made_task(BEFORE, ProLIP), ProLIP.defaults({}) | {"epochs": STEPS}
    who = [Replica(f"λ={lam}", params | {"lambda": lam}, seed) for lam in PENALTIES for seed in range(SEEDS)]
    return lambda: list(ProLIP().fit(task, who)), STEPS * len(who)


def products() -> Callable[[], object]:
    """The products of one step: the image's projection and its cosines, and either one's gradient."""
    import torch

    x, weight = torch.randn(IMAGES, BEFORE), torch.randn(BEFORE, AFTER)
    text, logits = torch.randn(CLASSES, AFTER), torch.randn(IMAGES, CLASSES)
    moved = torch.randn(IMAGES, AFTER)
    return lambda: (x @ weight, moved @ text.T, logits @ text, x.T @ moved)


def operations() -> float:
    """Of those products."""
    return 4.0 * IMAGES * AFTER * (BEFORE + CLASSES)


def closed(method: type[Method]) -> Callable[[], object]:
    """From the support to the logits of all queries."""
    task, replica = made_task(AFTER, method), Replica("-", method.defaults({}), 0)
    queries = made_task(AFTER, method).supports[0].x.repeat(1 + QUERIES // IMAGES, 0)[:QUERIES].copy()
    return lambda: [candidate.logits(queries) for candidate in method().fit(task, [replica])]


def measure(rounds: int) -> Iterator[dict[str, Cost]]:
    """Costs, round after round; the first one, which warms up, is left out."""
    train, steps = training()
    once, fits = products(), {method.name: closed(method) for method in CLOSED}
    for number in range(rounds + 1):
        found = {"a step of prolip": cost(train) / steps}
        found["its products"] = cost(lambda: [once() for _ in range(STEPS)]) / STEPS
        found |= {name: cost(fit) for name, fit in fits.items()}
        if number > 0:
            yield found


def report(found: Sequence[dict[str, Cost]]) -> Iterator[str]:
    """Medians of the times, and of the ratio within a round."""
    yield f"{'':40}{'by the clock':>14}{'of a core':>14}"
    for name in found[0]:
        clock, cores = (1e3 * median(one[name][i] for one in found) for i in range(2))
        yield f"{name + ', ms':40}{clock:14.1f}{cores:14.1f}"
    clock, cores = (median(one["a step of prolip"][i] / one["its products"][i] for one in found) for i in range(2))
    yield f"{'a step of prolip against its products':40}{clock:13.2f}x{cores:13.2f}x"
    yield f"{'products of 300 steps, TFLOP':40}{300 * operations() / 1e12:14.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    print(f"{SEEDS * len(PENALTIES)} replicas, {arguments.threads} threads, {arguments.rounds} rounds", flush=True)
    for line in report(list(measure(arguments.rounds))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
