"""The engine: trains all replicas of a head side by side, each as if it were alone.

Every replica has its own support, order of batches, initial parameters, hyperparameters and BatchNorm statistics; the
tensors carry a leading replica dimension and live on the device.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from math import ceil

import numpy as np
import torch
from torch import Tensor

from methods.contract.base import Array, Candidate, Replica, Task
from methods.contract.per_queries import PerQueries
from methods.contract.recipe import Recipe
from workflow.lib.engine import graphs, kernels
from workflow.lib.engine.batches import Batches
from workflow.lib.engine.graphs import Replayed
from workflow.lib.engine.heads import Head, Trainable
from workflow.lib.engine.optimizers import Optimizer, steps
from workflow.lib.engine.stacking import Late, made

CPU_CHUNK = 16 * 2**20  # bytes that a chunk of replicas works on: more of them would leave the caches
GPU_CHUNK = 0.25  # likewise as a share of the GPU's memory
CPU_SLICE = 2**20  # bytes of (R, M, D) intermediates in a slice of queries
GPU_SLICE = 2**28
LOG_SECONDS = 2.0


def trainable(method: Trainable, task: Task, replica: Replica) -> int:
    """How many numbers one replica learns."""
    return sum(weight.numel() for weight in Head(method, task, [replica]).weights.values())


def train(method: Trainable, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
    """Train replicas of one shape side by side, chunk after chunk; a candidate of a chunk after every epoch that
    the task wants scored.
    """
    torch.set_num_threads(task.threads)
    chunks = list(_chunks(method, task, replicas))
    progress = _Progress(task, method.name, replicas, len(chunks))
    for chunk in chunks:
        yield from _train(method, task, chunk, progress)


def _train(method: Trainable, task: Task, replicas: Sequence[Replica], progress: "_Progress") -> Iterator[Candidate]:
    run = Run(method, task, replicas)
    recipe, total = run.recipe, steps(run.recipe, run.per_epoch)
    every = recipe.every or run.per_epoch
    progress.start(total)
    marks = [*range(every, total, every), total]
    scored = task.scored(len(marks))
    for number, step in enumerate(marks, 1):
        run.advance((step - 1) % every + 1)
        if number in scored:
            point = {"step": step} if recipe.steps or recipe.every else {"epoch": step // run.per_epoch}
            yield Candidate(replicas, run.logits, point)
        progress(step, run)


def _recipes(method: Trainable, task: Task, replicas: Sequence[Replica]) -> list[Recipe]:
    """The recipes of the replicas, which may differ in rate and decay alone."""
    recipes = [method.recipe(task, replica.params) for replica in replicas]
    for replica, recipe in zip(replicas, recipes, strict=True):
        if replace(recipe, lr=recipes[0].lr, weight_decay=recipes[0].weight_decay) != recipes[0]:
            raise ValueError(f"{replica}: its recipe differs from the others' in more than rate and decay")
    return recipes


def _chunks(method: Trainable, task: Task, replicas: Sequence[Replica]) -> Iterator[Sequence[Replica]]:
    """Replicas that fit the budget together, in parts of nearly the same size: a function of the shapes alone."""
    recipe = method.recipe(task, replicas[0].params)
    batch = recipe.batch_size or len(task.supports[replicas[0].seed].y)
    weights = trainable(method, task, replicas[0])
    # Weight, gradient and two moments; a batch, its activations and their gradients.
    size = 4 * (4 * weights + batch * (4 * task.dim + 4 * task.classes))
    parts = ceil(len(replicas) / max(1, _budget(task.device) // size))
    edges = [round(i * len(replicas) / parts) for i in range(parts + 1)]
    yield from (replicas[a:b] for a, b in pairwise(edges))


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


class Run:
    """R replicas in training: one step of all, and their logits."""

    def __init__(self, method: Trainable, task: Task, replicas: Sequence[Replica]) -> None:
        recipes = _recipes(method, task, replicas)
        self.recipe = recipes[0]
        self.head = Head(method, task, replicas)
        self.batches = Batches(method, task, replicas, recipes[0].batch_size)
        self.per_epoch = self.batches.per_epoch
        self._optimizer = Optimizer(self.head.weights, recipes, self.per_epoch)
        self._slice = max(1, (CPU_SLICE if task.device == "cpu" else GPU_SLICE) // (4 * len(replicas) * task.dim))
        self._device = task.device
        # Fresh memory for the logits of every epoch would cost as much as computing them.
        shape = len(replicas), task.classes
        self._out = PerQueries(lambda q: torch.empty(len(q), *shape, device=task.device).transpose(0, 1))
        self._own: deque[Array] = deque(maxlen=self.per_epoch)  # the true classes' probabilities in the last steps
        record = graphs.recorder(task.device)
        whole = self.batches.fixed and not (self.recipe.steps or self.recipe.every)  # epochs and nothing else
        self._epoch = Replayed(self._fixed_epoch, record, task.log) if record and whole else None

    @_flushed()
    @torch.no_grad()
    def advance(self, steps: int) -> None:
        """So many steps of every replica, an epoch at most."""
        if self._epoch is None:
            for _ in range(steps):
                self._step()
        else:
            self.batches.shuffle()
            self._optimizer.look_ahead()
            self._epoch()

    def _step(self) -> None:
        """One batch of every replica."""
        self._optimizer.step(self._gradients(*next(self.batches)))

    def _fixed_epoch(self) -> None:
        """The steps of an epoch whose order and rates lie in memory: the same calls on the same tensors every time."""
        for step in range(self.per_epoch):
            self._optimizer.fixed_step(step, self._gradients(*self.batches.batch(step)))

    @torch.no_grad()
    def gradients(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Of the weights by name, for a batch `x (R, B, D)` and `y (R, B)`. The next step writes over them."""
        return dict(zip(self.head.weights, made(self._gradients(x, y)), strict=True))

    def _gradients(self, x: Tensor, y: Tensor) -> list[Tensor | Late]:
        by_hand = self.head.vjp(x)
        if by_hand is None:
            return self._derived(x, y)
        logits, pull = by_hand
        found = pull(self._loss(logits, y))
        return [found[name] for name in self.head.weights]

    @torch.enable_grad()
    def _derived(self, x: Tensor, y: Tensor) -> list[Tensor | Late]:
        """The gradients of the weights by autograd."""
        logits, penalty = self.head(x), self.head.penalty()
        outputs, seeds = [logits], [self._loss(logits.detach(), y)]
        if penalty is not None:
            outputs, seeds = [logits, penalty], [*seeds, torch.ones_like(penalty)]
        return list(torch.autograd.grad(outputs, list(self.head.weights.values()), seeds))

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The gradient of the mean cross-entropy; the loss itself is kept for the log."""
        gradient, own = cross_entropy(logits, y)
        self._own.append(own)
        return gradient

    def loss(self) -> float:
        """Mean cross-entropy over the last epoch. Reading it waits for the device."""
        return -torch.cat([torch.as_tensor(own) for own in self._own], 1).clamp_min(1e-38).log().mean().item()

    @_flushed()
    def logits(self, queries: Array) -> Tensor:
        """Logits `(R, M, K)` of queries `(M, D)`, in slices that stay in the cache. The next call writes over them."""
        out = self._out(queries)
        self.head.train(False)
        with torch.no_grad():
            classify = self.head.folded()
            for start in range(0, len(queries), self._slice):
                rows = slice(start, start + self._slice)
                out[:, rows] = classify(torch.as_tensor(queries[rows], device=self._device))
        self.head.train(True)
        return out


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Array]:
    """Of logits `(R, B, K)` and labels `(R, B)`: the gradient of each replica's mean cross-entropy, and `p(label)`."""
    turned = not logits.is_contiguous() and logits.mT.is_contiguous()  # as they lie in memory: a copy costs as much
    gradient = logits.mT.softmax(1).mT if turned else logits.softmax(-1)
    if kernels.fit(gradient):
        own = np.empty(labels.shape, np.float32)
        kernels.cross_entropy(*kernels.arrays(gradient.mT if turned else gradient, labels), own, turned)
        return gradient, own
    column = labels[..., None]
    picked = gradient.gather(-1, column)
    gradient.scatter_add_(-1, column, torch.full_like(picked, -1.0))
    return gradient.mul_(1 / labels.shape[1]), picked[..., 0]


class _Progress:
    """A log line every few seconds: epochs, loss, time left. Reading the loss is what waits for the device."""

    def __init__(self, task: Task, name: str, replicas: Sequence[Replica], chunks: int) -> None:
        self._log, self._chunks, self._done = task.log, chunks, -1
        self._start = self._said = time.monotonic()
        parts = f" in {chunks} chunks" if chunks > 1 else ""
        self._log(f"{name}: {len(replicas)} trainings side by side{parts}, on {task.device}")

    def start(self, total: int) -> None:
        """Another chunk begins, of so many steps."""
        self._total = total
        self._done += 1

    def __call__(self, step: int, run: Run) -> None:
        now = time.monotonic()
        if now - self._said < LOG_SECONDS and step < self._total:
            return
        self._said = now
        done = self._done + step / self._total
        left = (now - self._start) / done * (self._chunks - done)
        epoch = f"epoch {step / run.per_epoch:.0f}/{self._total / run.per_epoch:.0f}"
        part = f"chunk {self._done + 1}/{self._chunks}, " if self._chunks > 1 else ""
        self._log(f"  {part}{epoch}, loss {run.loss():.4f}, {left:.0f} s left")
