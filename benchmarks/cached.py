"""Speed of the methods on cached features, in milliseconds and as ratios measured in one run.

At FGVC-Aircraft's size: 16 images of each of 100 classes, 512 dimensions, 10 prompts, 3333 images to answer. `prolip`,
768 dimensions before its projection, and `lfa` take full-batch steps, seeds and settings side by side: beside a step of
the one stand the four matrix products that it consists of, beside the other a loop with autograd. Closed forms go from
the support to the last logit, alone and for every point of the grid that a protocol may choose from; beside them stands
what people write, once for each setting. The tokens of CALIP are the extraction's work and no part of it.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks import plain
from benchmarks.engine import Cost, cost
from methods import GridMethod, Method, Projection, Replica, Support, Task, unit
from methods.calip import Calip
from methods.gda import GaussianDiscriminant
from methods.knn import NearestNeighbours
from methods.lfa import SHARES, LinearAlignment, chosen_share
from methods.nearest_mean import NearestMean
from methods.prolip import ProLIP
from methods.prompt_ensemble import PromptEnsemble
from methods.ridge import Ridge
from methods.timo import TextImageMutualGuidance
from workflow.lib.evaluation import engines

SHOTS, CLASSES, PROMPTS, QUERIES = 16, 100, 10, 3333
BEFORE, DIM = 768, 512
IMAGES = SHOTS * CLASSES
SEEDS, PENALTIES = 2, (0.0, 1 / SHOTS)
STEPS = 10  # of the hundreds in a fit: they are all alike
CLOSED: Mapping[type[Method], Mapping[str, Any]] = {
    NearestMean: {},
    NearestNeighbours: {},
    Ridge: {},
    GaussianDiscriminant: {"recipe": "paper"},
    TextImageMutualGuidance: {},
    Calip: {},
    PromptEnsemble: {"average": "probabilities"},
}
AGAINST = {"knn": "scikit-learn", "ridge": "scikit-learn", "prompt_ensemble": "all prompts at once"}


class Timed(NamedTuple):
    """A call, and how many of what is measured it does."""

    run: Callable[[], object]
    parts: float = 1

    def cost(self) -> Cost:
        return cost(self.run) / self.parts


class Row(NamedTuple):
    """What is measured in turn: ours, for a point of a grid too where there is one, and what it is held against."""

    name: str
    against: str
    timed: Mapping[str, Timed]


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random unit vectors: speed doesn't depend on what they are."""
    return unit(rng.normal(size=shape)).astype(np.float32)


def made_task(method: type[Method], columns: int = DIM, choosing: bool = False) -> Task:
    """Supports of so many columns for a method, with all that one may need."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), SHOTS)
    supports = {seed: Support(drawn(rng, IMAGES, columns), labels) for seed in range(SEEDS)}
    each = drawn(rng, CLASSES, PROMPTS, DIM)
    text, projection = unit(each.mean(1)), Projection(drawn(rng, BEFORE, DIM), np.zeros(DIM, np.float32))
    names, engine = [str(k) for k in range(CLASSES)], engines.engine(method)
    made = Task(supports, names, str(SHOTS), text, choosing=choosing, engine=engine, curve=1)
    return replace(made, text_raw=text, text_each=each, projection=projection)


def fitted(method: type[Method], task: Task, settings: Sequence[Mapping[str, Any]]) -> Timed:
    """A few steps with each of the settings and every seed, of which one of a replica counts."""
    params = method.defaults({}) | {"epochs": STEPS}
    who = [Replica(str(at), {**params, **own}, seed) for at, own in enumerate(settings) for seed in range(SEEDS)]
    return Timed(lambda: list(method().fit(task, who)), STEPS * len(who))


def products() -> Timed:
    """Those of a step of `prolip`: the image's projection and its cosines, and either one's gradient."""
    import torch

    x, weight = torch.randn(IMAGES, BEFORE), torch.randn(BEFORE, DIM)
    text, logits = torch.randn(CLASSES, DIM), torch.randn(IMAGES, CLASSES)
    moved = torch.randn(IMAGES, DIM)
    return Timed(lambda: [(x @ weight, moved @ text.T, logits @ text, x.T @ moved) for _ in range(STEPS)], STEPS)


def operations() -> float:
    """Of those products."""
    return 4.0 * IMAGES * DIM * (BEFORE + CLASSES)


def trained() -> Iterator[Row]:
    """A step of what is trained, and what comes before the first one."""
    task = made_task(ProLIP, BEFORE)
    ours = fitted(ProLIP, task, [{"lambda": penalty} for penalty in PENALTIES])
    yield Row("prolip, a step", "its matrix products", {"ours": ours, "plain": products()})
    task = made_task(LinearAlignment)
    ours = fitted(LinearAlignment, task, [{"b": 1.0}])
    loop = Timed(lambda: plain.lfa_steps(task, STEPS), STEPS)
    yield Row("lfa, a step", "a loop with autograd", {"ours": ours, "plain": loop})
    rng = np.random.default_rng(0)
    ours = Timed(lambda: chosen_share(task.supports[0], task.class_text(), rng))
    one = Timed(lambda: plain.lfa_share(task, 0.5, rng), 1 / len(SHARES))  # of one b, and all take as long
    yield Row("lfa, its share b", "anew for each b", {"ours": ours, "plain": one})


def closed(method: type[Method], settings: Mapping[str, Any]) -> Row:
    """From the support to the logits of all queries."""
    columns = DIM + 2 * CLASSES if method is Calip else DIM
    queries = drawn(np.random.default_rng(1), QUERIES, columns)
    replica = Replica("-", {**method.defaults(settings), **settings}, 0)

    def answered(task: Task) -> Callable[[], int]:
        return lambda: sum(len(candidate.logits(queries)) for candidate in method().fit(task, [replica]))

    task = made_task(method, columns)
    timed = {"ours": Timed(answered(task)), "plain": Timed(lambda: plain.ANSWERS[method.name](task, queries))}
    if issubclass(method, GridMethod):
        every = answered(made_task(method, columns, choosing=True))
        timed["grid"] = Timed(every, every())
    return Row(method.name, AGAINST.get(method.name, "a loop"), timed)


def measure(rows: Sequence[Row], rounds: int) -> list[list[dict[str, Cost]]]:
    """Costs of every row, round after round; the first one, which warms up, is left out."""
    return [[{name: one.cost() for name, one in row.timed.items()} for row in rows] for _ in range(rounds + 1)][1:]


def report(rows: Sequence[Row], found: Sequence[Sequence[Mapping[str, Cost]]]) -> Iterator[str]:
    """Medians of a core's milliseconds, and of the ratios within a round."""
    head = ("ours", "of a grid", "plain", "faster", "of a grid")
    yield f"{'ms of a core':18}" + "".join(f"{title:>11}" for title in head) + "  plain is"
    for at, row in enumerate(rows):
        rounds = [one[at] for one in found]
        cells = [_milliseconds(rounds, name) for name in ("ours", "grid", "plain")]
        cells += [_faster(rounds, name) for name in ("ours", "grid")]
        yield f"{row.name:18}" + "".join(f"{cell:>11}" for cell in cells) + f"  {row.against}"
    step = [one[0] for one in found]
    clock, cores = (median(one["ours"][i] / one["plain"][i] for one in step) for i in range(2))
    yield f"a step of prolip against its products: {clock:.2f}x by the clock, {cores:.2f}x of a core"
    yield f"products of 300 steps: {300 * operations() / 1e12:.2f} TFLOP"


def _milliseconds(rounds: Sequence[Mapping[str, Cost]], name: str) -> str:
    return f"{1e3 * median(one[name].cores for one in rounds):.1f}" if name in rounds[0] else ""


def _faster(rounds: Sequence[Mapping[str, Cost]], name: str) -> str:
    return f"{median(one['plain'].cores / one[name].cores for one in rounds):.1f}x" if name in rounds[0] else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    print(f"{SEEDS * len(PENALTIES)} replicas, {arguments.threads} threads, {arguments.rounds} rounds", flush=True)
    rows = [*trained(), *(closed(method, settings) for method, settings in CLOSED.items())]
    for line in report(rows, measure(rows, arguments.rounds)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
