"""The engine: trains all replicas of a head side by side, each as if it were alone.

Every replica has its own support, order of batches, initial parameters, hyperparameters and BatchNorm statistics; the
tensors carry a leading replica dimension and live on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import ceil
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor

from methods.contract import exporting
from methods.contract.base import Array, Candidate, Replica, Task
from methods.contract.per_queries import PerQueries
from methods.contract.program import Program
from methods.contract.recipe import Recipe
from workflow.lib.engine import checkpoints, graphs
from workflow.lib.engine.average import Average
from workflow.lib.engine.batches import Batches
from workflow.lib.engine.blending import Family, Shares, Start, families
from workflow.lib.engine.compiled import Epochs, UnfitError
from workflow.lib.engine.graphs import Replayed
from workflow.lib.engine.heads import Head, Trainable
from workflow.lib.engine.lbfgs import Lbfgs
from workflow.lib.engine.mixup import Mixup
from workflow.lib.engine.objective import Labels, Objective
from workflow.lib.engine.optimizers import Optimizer, steps
from workflow.lib.engine.progress import Progress
from workflow.lib.engine.sparing import Sparing
from workflow.lib.engine.stacking import made
from workflow.lib.engine.tracing import traced

CPU_CHUNK = 16 * 2**20  # bytes that a chunk of replicas works on: more of them would leave the caches
GPU_CHUNK = 0.25  # likewise as a share of the GPU's memory
CPU_SLICE = 2**20  # bytes of (R, M, D) intermediates in a slice of queries
GPU_SLICE = 2**28
LEAST_IMAGES = 32  # in a slice of queries that go through a tower, whatever their size
MOVED, ROWS = 0.1, 256  # by how much an untrained head is moved, and rows that it classifies at a time


def trainable(method: Trainable, task: Task, replica: Replica) -> int:
    """How many numbers one replica learns."""
    return sum(weight.numel() for weight in Head(method, task, [replica]).weights.values())


def untrained(method: Trainable, task: Task, replica: Replica) -> Program:
    """The classifier of one replica as data, with weights moved at random: near its start a head may be linear that is
    not. Raises CannotShipError where it can't be written down.
    """
    head, noise = Head(method, task, [replica]), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in head.weights.values():
            weight += MOVED * torch.randn(weight.shape, generator=noise).to(weight)
        head.train(False)
        if (behind := head.behind(task)) is not None:
            return behind
        classify = head.folded()

        def logits(x: Array) -> Tensor:
            given = torch.as_tensor(x, device=task.device)
            return torch.cat([classify(given[start : start + ROWS])[0] for start in range(0, len(x), ROWS)])

        return exporting.export(logits, lambda: traced(head, task.dim, task.device), task.supports[replica.seed].x)


def train(method: Trainable, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
    """Train replicas of one shape side by side, chunk after chunk; a candidate of a chunk after every epoch that
    the task wants scored.
    """
    chunks, progress = _begin(method, task, replicas)
    for chunk in chunks:
        yield from _train(method, task, chunk, progress)


def trained(
    method: Trainable, task: Task, replicas: Sequence[Replica]
) -> Iterator[tuple[Sequence[Replica], SimpleNamespace]]:
    """Train replicas of one shape to the end: those of a chunk, and the parts of their head as they are then."""
    chunks, progress = _begin(method, task, replicas)
    for chunk in chunks:
        together = [replica for family in chunk for replica in family]
        done, state = _past()
        run = Run(method, task, together)
        if done < 0:
            run.head.restore(state)
            progress.skip()
        else:
            for _ in _advanced(run, progress, _marks(run), done, state):
                pass
        if (kept := checkpoints.current()) and kept.fit:
            kept.fit.hold(run.head.snapshot())
        run.head.train(False)
        yield together, run.head.parts


def _begin(method: Trainable, task: Task, replicas: Sequence[Replica]) -> tuple[list[Sequence[Family]], Progress]:
    """What trains together, chunk by chunk."""
    torch.set_num_threads(task.threads)
    by_training = families(method, replicas)
    chunks = list(_chunks(method, task, by_training))
    return chunks, Progress(task, method.name, len(by_training), len(chunks))


def _past() -> tuple[int, Any]:
    """For the next run, the steps that a process which was killed had done, and its state; −1 if it was over, and what
    was held of it.
    """
    kept = checkpoints.current()
    return kept.fit.run() if kept and kept.fit else (0, None)


def _train(method: Trainable, task: Task, chunk: Sequence[Family], progress: Progress) -> Iterator[Candidate]:
    done, state = _past()
    if done < 0:
        progress.skip()
        return
    shares = Shares(method, chunk)
    run = Run(method, task, [family[0] for family in chunk], blended=not shares.whole)
    marks = _marks(run)
    scored = {marks[number - 1] for number in task.scored(len(marks))}
    for step in _advanced(run, progress, marks, done, state):
        if step in scored:
            counted = run.recipe.steps or run.recipe.every
            point = {"step": step} if counted else {"epoch": step // run.per_epoch}
            logits, program = partial(shares.logits, run), partial(shares.program, run)
            yield Candidate(shares.replicas, logits, point, program=program)


def _marks(run: Run) -> list[int]:
    """The steps after which a training may be scored."""
    every, total = run.recipe.every or run.per_epoch, steps(run.recipe, run.per_epoch)
    return [*range(every, total, every), total]


def _advanced(
    run: Run, progress: Progress, marks: Sequence[int], done: int, state: Mapping[str, Any] | None
) -> Iterator[int]:
    """Train from mark to mark, from the step on that is `done`, which left the run in this state."""
    kept = checkpoints.current()
    if state is not None:
        run.restore(state)
    progress.start(marks[-1], done)
    for before, step in pairwise([0, *marks]):
        if step <= done:
            continue
        run.advance(step - before)
        yield step
        progress(step, run)
        if kept and run.resumes:
            kept.at(step, run.snapshot)


def _recipes(method: Trainable, task: Task, replicas: Sequence[Replica]) -> list[Recipe]:
    """The recipes of the replicas, which may differ in rate and decay alone."""
    recipes = [method.recipe(task, replica.params) for replica in replicas]
    for replica, recipe in zip(replicas, recipes, strict=True):
        if replace(recipe, lr=recipes[0].lr, weight_decay=recipes[0].weight_decay) != recipes[0]:
            raise ValueError(f"{replica}: its recipe differs from the others' in more than rate and decay")
    return recipes


def _chunks(method: Trainable, task: Task, by_training: Sequence[Family]) -> Iterator[Sequence[Family]]:
    """Trainings that fit the budget together, in parts of nearly the same size: a function of the shapes alone."""
    first = by_training[0][0]
    recipe = method.recipe(task, first.params)
    if recipe.optimizer == "lbfgs":  # each searches along a line of its own
        yield from ([family] for family in by_training)
        return
    batch = recipe.batch_size or len(task.supports[first.seed].y)
    weights = trainable(method, task, first)
    # Weight, gradient and two moments; a batch, its activations and their gradients.
    size = 4 * (4 * weights + batch * (4 * task.dim + 4 * task.classes))
    parts = ceil(len(by_training) / max(1, _budget(task.device) // size))
    edges = [round(i * len(by_training) / parts) for i in range(parts + 1)]
    yield from (by_training[a:b] for a, b in pairwise(edges))


def _budget(device: str) -> int:
    """Bytes for a chunk of replicas."""
    if device == "cpu":
        return CPU_CHUNK
    return int(torch.cuda.get_device_properties(device).total_memory * GPU_CHUNK)


@contextmanager
def _flushed() -> Iterator[None]:
    """Numbers below 1e-38 count as zero: a softmax of scaled cosines is full of them, and a product with one takes 100
    times as long. Off again afterwards, for it holds for everything that this thread computes.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Changing(Protocol):
    """A part of a run that its steps change."""

    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


class Run:
    """R replicas in training: one step of all, and their logits, if `blended` also between the start and now."""

    def __init__(self, method: Trainable, task: Task, replicas: Sequence[Replica], blended: bool = False) -> None:
        recipes = _recipes(method, task, replicas)
        self.recipe = recipes[0]
        self.head = Head(method, task, replicas)
        self.batches = Batches(method, task, replicas, self.recipe)
        self.per_epoch = self.batches.per_epoch
        self._objective = Objective(self.head, self.recipe, self.per_epoch)
        self._mixup = Mixup(self.recipe.mixup, replicas) if self.recipe.mixup else None
        self._start = Start(self.head.weights) if blended else None
        self._average = Average(self.head.weights, self.recipe.ema) if self.recipe.ema else None
        self._searching = self.recipe.optimizer == "lbfgs"
        if self._searching:
            self._lbfgs = Lbfgs(self.head.weights, self.recipe, self.head.noise)
        else:
            self._optimizer = Optimizer(self.head.weights, recipes, self.per_epoch)
        least = LEAST_IMAGES if task.model else 1
        self._slice = max(least, (CPU_SLICE if task.device == "cpu" else GPU_SLICE) // (4 * len(replicas) * task.dim))
        self._device, self._log, self._task = task.device, task.log, task
        # Fresh memory for the logits of every epoch would cost as much as computing them.
        shape = len(replicas), task.classes
        self._out = PerQueries(lambda q: torch.empty(len(q), *shape, device=task.device).transpose(0, 1))
        spares = len(replicas) == 1 and (task.model or task.encoder) is not None
        self._gradients = Sparing(self._objective, self.head, task.log) if spares else self._objective.gradients
        record = None if spares else graphs.recorder(task.device)
        self._epoch = Replayed(self._fixed_epoch, record, task.log) if record and self._whole else None
        self._compiled = self._epochs() if self._whole else None
        self._done = 0  # steps of the epoch

    def _epochs(self) -> Epochs | None:
        """The compiled epochs of the head, if there are any."""
        try:
            return Epochs(self.head, self.recipe, self.batches, self._optimizer)
        except UnfitError:
            return None

    @property
    def _whole(self) -> bool:
        """Whether the training is epochs and nothing else, whose steps do the same every time."""
        free = self.recipe.steps or self.recipe.every or self._mixup or self._searching
        return self.batches.fixed and not free

    @property
    def resumes(self) -> bool:
        """Whether a `snapshot` says all that there is to it: between two epochs of one source, but for L-BFGS."""
        return self._done == 0 and self.batches.fixed and not self._searching

    def snapshot(self) -> dict[str, Any]:
        """All that the steps so far have changed."""
        return {name: part.snapshot() for name, part in self._changing().items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where the run was that had this state."""
        for name, part in self._changing().items():
            part.restore(state[name])

    def _changing(self) -> dict[str, Changing]:
        """Its parts that do."""
        parts: dict[str, Changing | None] = {"head": self.head, "noise": self.head.noise, "batches": self.batches}
        parts |= {"optimizer": self._optimizer, "mixup": self._mixup, "average": self._average}
        return {name: part for name, part in parts.items() if part is not None}

    @_flushed()
    @torch.no_grad()
    def advance(self, steps: int) -> None:
        """So many steps of every replica, an epoch at most."""
        if self._epoch is not None and self.head.noise.drawn:
            self._log("  not recorded as a CUDA graph, and slower for it: the head draws random numbers")
            self._epoch = None
        if self._compiled is not None and steps == self.per_epoch and self._done == 0:
            self._objective.seen(self._compiled())
        elif self._epoch is None:
            self._done = (self._done + steps) % self.per_epoch
            step = self._search if self._searching else self._step
            for _ in range(steps):
                step()
        else:
            self.batches.shuffle()
            self._optimizer.look_ahead()
            self._epoch()

    def _step(self) -> None:
        """One batch of every replica."""
        x, y = next(self.batches)
        labels: Labels = y
        if self._mixup:
            x, labels = self._mixup(x, y)
        self._optimizer.step(self._gradients(x, labels))
        if self._average:
            self._average.update()

    def _search(self) -> None:
        """One iteration of L-BFGS."""
        self._lbfgs.step(partial(self._objective.value, *next(self.batches)))
        if self._average:
            self._average.update()

    def _fixed_epoch(self) -> None:
        """The steps of an epoch whose order and rates lie in memory: the same calls on the same tensors every time."""
        for step in range(self.per_epoch):
            self._optimizer.fixed_step(step, self._objective.gradients(*self.batches.batch(step)))
            if self._average:
                self._average.update()

    @torch.no_grad()
    def gradients(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Of the weights by name, for a batch `x (R, B, D)` and `y (R, B)`. The next step writes over them."""
        return dict(zip(self.head.weights, made(self._gradients(x, y)), strict=True))

    def loss(self) -> float:
        """The mean loss over the last epoch. Reading it waits for the device."""
        return self._objective.latest()

    @_flushed()
    def logits(self, queries: Array, shares: Sequence[float] | None = None) -> Tensor:
        """Logits `(R, M, K)` of queries `(M, D)`, in slices that stay in the cache. The next call writes over them.

        `shares` are w, one for each replica: weights `(1 − w) θ₀ + w θ`, of a run that is `blended`.
        """
        out = self._out(queries)
        with self._classifying(shares):
            classify = self.head.folded()
            for start in range(0, len(queries), self._slice):
                rows = slice(start, start + self._slice)
                out[:, rows] = classify(torch.as_tensor(queries[rows], device=self._device))
        return out

    def program(self, shares: Sequence[float] | None = None) -> Program | None:
        """What the head of one replica that is trained alone does, to be shipped; `shares` as of `logits`."""
        with self._classifying(shares):
            return self.head.behind(self._task) or traced(self.head, self._task.dim, self._device)

    @contextmanager
    def _classifying(self, shares: Sequence[float] | None) -> Iterator[None]:
        """The head with the weights that classify; afterwards it is in training again."""
        blended = nullcontext() if self._start is None or shares is None else self._start.blended(shares)
        with torch.no_grad(), self._average.in_place() if self._average else nullcontext(), blended:
            self.head.train(False)
            yield
        self.head.train(True)
