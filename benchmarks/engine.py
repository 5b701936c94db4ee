"""Speed of the engine, as ratios measured in one run: against the loops that people write, and against the machine.

A linear probe with BatchNorm on features of 3334 images: D = 512, K = 100, batches of 32, AdamW, 3333 images scored
after every epoch. All times are per epoch and replica. A round measures each in turn, so that whatever else the machine
does meets them alike, and the medians over rounds are printed: of the time by the clock with every core in use, and of
the processors' own time, which says the same on a machine that is busy with other work.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle
from multiprocessing.connection import Connection
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from methods import Replica, Support, Task
from methods.linear_probe import LinearProbe
from workflow.lib.evaluation import engines

IMAGES, QUERIES, DIM, CLASSES, BATCH = 3334, 3333, 512, 100, 32
REPLICAS, SEEDS = 15, 3
EPOCHS = 4  # of the engine in a round
LARGE = (4, 1024)  # the bmm that shows the machine's rate: so many products of square matrices of this size
PRODUCTS = 8  # calls of it
PARAMS = {"batch_norm": True, "lr": 1e-4, "weight_decay": 0.01, "epochs": 10**6, "batch_size": BATCH}


def samples(seed: int, size: int) -> Support:
    """Random features and labels: speed doesn't depend on what they are."""
    rng = np.random.default_rng(seed)
    return Support(rng.normal(size=(size, DIM)).astype(np.float32), rng.integers(CLASSES, size=size))


def products(count: int) -> float:
    """Floating-point operations of an epoch's matrix products: `count` in a step, and one for scoring."""
    return 2.0 * DIM * CLASSES * (count * IMAGES + QUERIES)


class LoopByHand:
    """The loop that people write: one replica, torchmetrics updated at every batch, with a DataLoader or without."""

    def __init__(self, workers: int | None) -> None:
        import torch
        import torchmetrics

        self.metric = torchmetrics.classification.MulticlassAccuracy(CLASSES, average="micro")
        self.model = torch.nn.Sequential(torch.nn.BatchNorm1d(DIM), torch.nn.Linear(DIM, CLASSES))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.train, self.test = (self._batches(*part, workers) for part in ((IMAGES, True), (QUERIES, False)))

    def _batches(self, size: int, shuffle: bool, workers: int | None) -> Callable[[], Iterator[Any]]:
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        data = samples(0, size)
        x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
        if workers is not None:
            loader = DataLoader(TensorDataset(x, y), BATCH, shuffle=shuffle, num_workers=workers)
            return lambda: iter(loader)

        def batches() -> Iterator[Any]:
            order = torch.randperm(size) if shuffle else torch.arange(size)
            for rows in torch.split(order, BATCH):
                yield [x[rows], y[rows]]

        return batches

    def epoch(self) -> None:
        """Train on every image, then score every query."""
        import torch

        self.model.train()
        for x, y in self.train():
            logits = self.model(x)
            loss = torch.nn.functional.cross_entropy(logits, y)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            self.optimizer.step()
            self.metric.update(logits, y)
        self.model.eval()
        with torch.no_grad():
            for x, y in self.test():
                self.metric.update(self.model(x), y)
        self.metric.compute()
        self.metric.reset()


class Engine:
    """The engine in a process of its own with one thread, as in a cell of the workflow."""

    def __init__(self, replicas: int) -> None:
        supports = {seed: samples(seed, IMAGES) for seed in range(SEEDS)}
        task = Task(supports, [str(k) for k in range(CLASSES)], "all", engine=engines.engine(LinearProbe))
        variants = zip(range(replicas), cycle(range(SEEDS)), strict=False)
        who = [Replica(str(i), PARAMS, seed) for i, seed in variants]
        self._task, self._who, self._queries = task, who, samples(SEEDS, QUERIES)
        self._candidates = LinearProbe().fit(task, who)

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


def worker(replicas: int, pipe: Connection) -> None:
    """Do what is asked for, and answer with the processor's seconds when it is done."""
    import torch

    torch.set_num_threads(1)
    engine = Engine(replicas)
    square = torch.randn(LARGE[0], LARGE[1], LARGE[1])
    tasks: Mapping[str, Callable[[], object]] = {
        "train": lambda: engine.epochs(EPOCHS),
        "bmm": lambda: [torch.bmm(square, square) for _ in range(PRODUCTS)],
    }
    while (name := pipe.recv()) != "end":
        pipe.send(cost(tasks[name]).cores)


class Workers:
    """One process for each core, working at the same time."""

    def __init__(self, cores: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        for core in range(cores):
            ours, theirs = context.Pipe()
            share = len(range(core, REPLICAS, cores))
            context.Process(target=worker, args=(share, theirs), daemon=True).start()
            self._pipes.append(ours)

    def cost(self, name: str) -> Cost:
        """From the start of a task to its end in the last process."""
        start = time.perf_counter()
        self.send(name)
        cores = sum(pipe.recv() for pipe in self._pipes)
        return Cost(time.perf_counter() - start, cores)

    def send(self, name: str) -> None:
        for pipe in self._pipes:
            pipe.send(name)

    def products(self) -> Cost:
        """Of one floating-point operation in a large bmm on every core."""
        return self.cost("bmm") / (len(self._pipes) * PRODUCTS * LARGE[0] * 2.0 * LARGE[1] ** 3)


def fastest(loop: LoopByHand, cores: int) -> Cost:
    """An epoch with as many threads as suit the loop: all of PyTorch's, or one where they only wait for each other."""
    import torch

    costs = []
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        costs.append(cost(loop.epoch))
    return min(costs)


def measure(rounds: int, cores: int) -> Iterator[dict[str, Cost]]:
    """Costs per epoch and replica, round after round; the first one, which warms up, is left out."""
    workers = Workers(cores)
    loops = {"DataLoader": LoopByHand(4), "tensors": LoopByHand(None)}
    for i in range(rounds + 1):
        found = {name: fastest(loop, cores) for name, loop in loops.items()}
        found["engine"] = workers.cost("train") / EPOCHS / REPLICAS
        operation = workers.products()
        found |= {f"{count} products": operation / (1 / products(count)) for count in (2, 3)}
        if i > 0:
            yield found
    workers.send("end")


def report(found: list[dict[str, Cost]]) -> Iterator[str]:
    """Medians of the times, and of the ratios within a round."""
    yield f"{'':40}{'by the clock':>14}{'of a core':>14}"
    for name in found[0]:
        clock, cores = (1e3 * median(one[name][i] for one in found) for i in range(2))
        yield f"{name + ', ms per epoch and replica':40}{clock:14.1f}{cores:14.1f}"
    for name in ("DataLoader", "tensors"):
        clock, cores = (median(one[name][i] / one["engine"][i] for one in found) for i in range(2))
        yield f"{'engine against ' + name:40}{clock:13.1f}x{cores:13.1f}x"
    for name in ("2 products", "3 products"):
        clock, cores = (median(one[name][i] / one["engine"][i] for one in found) for i in range(2))
        yield f"{'share of the limit set by ' + name:40}{clock:14.0%}{cores:14.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    print(f"{REPLICAS} replicas, {arguments.cores} cores, {arguments.rounds} rounds", flush=True)
    for line in report(list(measure(arguments.rounds, arguments.cores))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
