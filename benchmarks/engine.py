"""Speed of the engine, as ratios measured in one run: against the loops that people write, and against the machine.

Linear probe, CLIP-Adapter and attention probe on features of 3334 images: D = 128 and 512, K = 100, batches of 32,
AdamW, 3333 images scored after every epoch. All times are per epoch and replica. A round measures each in turn, so that
whatever else the machine does meets them alike, and the medians over rounds are printed: of the time by the clock with
every core in use, and of the processors' own time, which says the same on a machine that is busy with other work.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, product
from multiprocessing.connection import Connection
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from typing import NamedTuple

from benchmarks.loops import (
    BATCH,
    CLASSES,
    IMAGES,
    MODELS,
    QUERIES,
    RATIO,
    SCALE,
    LoopByHand,
    Shape,
    class_text,
    samples,
)
from methods import Replica, Task
from methods.tools.registry import load
from workflow.lib.evaluation import engines

DIMS = (128, 512)
REPLICAS, SEEDS = 6, 3
WORKERS = 4  # of the DataLoader
EPOCHS = 4  # of the engine in a round
LARGE = (4, 1024)  # the bmm that shows the machine's rate: so many products of square matrices of this size
PRODUCTS = 8  # calls of it
PARAMS = {"ratio": RATIO, "lr": 1e-4, "weight_decay": 0.01, "epochs": 10**6, "batch_size": BATCH}


def products(shape: Shape) -> float:
    """Floating-point operations of an epoch's matrix products, as the head and its gradients ask for them."""
    outer, inner = shape.dim * CLASSES, shape.dim * shape.dim // 4  # with class texts or weights, and of the bottleneck
    step, score = {
        "linear_probe": (2 * outer, outer),
        "clip_adapter": (2 * outer + 6 * inner, outer + 2 * inner),
        "attention_probe": (7 * outer, 3 * outer),
    }[shape.method]
    return 2.0 * (step * IMAGES + score * QUERIES)


class Engine:
    """The engine in a process of its own with one thread, as in a cell of the workflow."""

    def __init__(self, shape: Shape, replicas: int) -> None:
        method = load().methods[shape.method].method
        supports = {seed: samples(seed, IMAGES, shape.dim) for seed in range(SEEDS)}
        names = [str(k) for k in range(CLASSES)]
        task = Task(supports, names, "all", class_text(shape.dim), SCALE, engine=engines.engine(method))
        params = method.defaults({}) | {name: value for name, value in PARAMS.items() if name in method.params}
        seeds = zip(range(replicas), cycle(range(SEEDS)), strict=False)
        who = [Replica(str(i), params, seed) for i, seed in seeds]
        self._who, self._queries = who, samples(SEEDS, QUERIES, shape.dim)
        self._candidates = iter(method().fit(task, who))

    def epochs(self, count: int) -> None:
        """Train and score all replicas for so many epochs."""
        from workflow.lib.evaluation import scoring

        scored = 0
        while scored < count * len(self._who):
            candidate = next(self._candidates)
            scoring.hits(candidate.logits(self._queries.x), self._queries.y).sum(-1)
            scored += len(candidate.replicas)


class Cost(NamedTuple):
    """Seconds by the clock, and of all processors together."""

    clock: float
    cores: float

    def __truediv__(self, parts: float) -> "Cost":
        return Cost(self.clock / parts, self.cores / parts)


def cost(run: Callable[[], object]) -> Cost:
    """What a call takes, the processes that it starts and ends included."""
    clock, cores = time.perf_counter(), _processor_seconds()
    run()
    return Cost(time.perf_counter() - clock, _processor_seconds() - cores)


def _processor_seconds() -> float:
    usage = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def worker(shapes: Sequence[Shape], replicas: int, pipe: Connection) -> None:
    """Do what is asked for, and answer with the processor's seconds when it is done."""
    import torch

    torch.set_num_threads(1)
    trainings = {shape: Engine(shape, replicas) for shape in shapes}
    square = torch.randn(LARGE[0], LARGE[1], LARGE[1])
    while (task := pipe.recv()) != "end":
        if task == "bmm":
            done = cost(lambda: [torch.bmm(square, square) for _ in range(PRODUCTS)])
        else:
            done = cost(lambda: trainings[task].epochs(EPOCHS))
        pipe.send(done.cores)


class Workers:
    """One process for each core, working at the same time."""

    def __init__(self, shapes: Sequence[Shape], cores: int) -> None:
        context = multiprocessing.get_context("spawn")
        os.environ |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
        )  # as a cell has it
        self._pipes = []
        for core in range(cores):
            ours, theirs = context.Pipe()
            share = len(range(core, REPLICAS, cores))
            context.Process(target=worker, args=(shapes, share, theirs), daemon=True).start()
            self._pipes.append(ours)

    def cost(self, task: Shape | str) -> Cost:
        """From the start of a task to its end in the last process."""
        start = time.perf_counter()
        self.send(task)
        cores = sum(pipe.recv() for pipe in self._pipes)
        return Cost(time.perf_counter() - start, cores)

    def send(self, task: Shape | str) -> None:
        for pipe in self._pipes:
            pipe.send(task)

    def operation(self) -> Cost:
        """Of one floating-point operation in a large bmm on every core."""
        return self.cost("bmm") / (len(self._pipes) * PRODUCTS * LARGE[0] * 2.0 * LARGE[1] ** 3)


class Loops:
    """The loops of a shape, with as many threads as suit them: all of PyTorch's, or one where they only wait."""

    def __init__(self, shape: Shape, cores: int) -> None:
        self._loaded, self._plain = LoopByHand(shape, WORKERS), LoopByHand(shape, None)
        self._plain.epoch()  # warm
        self._threads = min((self._cost(self._plain, threads), threads) for threads in {1, cores})[1]

    def costs(self) -> dict[str, Cost]:
        """Of an epoch."""
        loops = {"DataLoader": self._loaded, "tensors": self._plain}
        return {name: self._cost(loop, self._threads) for name, loop in loops.items()}

    @staticmethod
    def _cost(loop: LoopByHand, threads: int) -> Cost:
        import torch

        torch.set_num_threads(threads)
        return cost(loop.epoch)


Found = Mapping[str, Cost]


def measure(shapes: Sequence[Shape], rounds: int, cores: int) -> Iterator[dict[Shape, Found]]:
    """Costs per epoch and replica, round after round."""
    workers = Workers(shapes, cores)
    loops = {shape: Loops(shape, cores) for shape in shapes}
    for shape in shapes:
        workers.cost(shape)  # warm
    for _ in range(rounds):
        found: dict[Shape, Found] = {}
        for shape in shapes:
            engine, operation = workers.cost(shape) / EPOCHS / REPLICAS, workers.operation()
            found[shape] = {**loops[shape].costs(), "products": operation / (1 / products(shape)), "engine": engine}
        yield found
    workers.send("end")


def report(found: Sequence[Mapping[Shape, Found]]) -> Iterator[str]:
    """Medians of the times, and of the ratios within a round; of each the time by the clock and that of a core."""
    head = ("engine, ms", "to DataLoader", "to tensors", "of products")
    yield f"{'':27}" + "".join(f"{title:>18}" for title in head)
    for shape in found[0]:
        rounds = [one[shape] for one in found]
        cells = [_both(f"{1e3 * median(one['engine'][i] for one in rounds):.1f}" for i in range(2))]
        for name, form in (("DataLoader", "{:.0f}x"), ("tensors", "{:.1f}x"), ("products", "{:.0%}")):
            ratios = (median(one[name][i] / one["engine"][i] for one in rounds) for i in range(2))
            cells.append(_both(form.format(ratio) for ratio in ratios))
        yield f"{shape.method:16} D = {shape.dim:<6}" + "".join(f"{cell:>18}" for cell in cells)


def _both(values: Iterator[str]) -> str:
    return " / ".join(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--method", choices=MODELS, help="this one alone")
    parser.add_argument("--dim", type=int, choices=DIMS, help="this size alone")
    arguments = parser.parse_args()
    shapes = [Shape(method, dim) for dim, method in product(DIMS, MODELS)]
    shapes = [one for one in shapes if arguments.method in (None, one.method) and arguments.dim in (None, one.dim)]
    print(
        f"{REPLICAS} replicas, {arguments.cores} cores, {arguments.rounds} rounds: by the clock / of a core", flush=True
    )
    for line in report(list(measure(shapes, arguments.rounds, arguments.cores))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
