"""The engine: trains all replicas of a head side by side, each as if it were alone.

Every replica has its own support, order of batches, initial parameters, hyperparameters and BatchNorm statistics; the
tensors carry a leading replica dimension and live on the device.
"""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from methods.base import Candidate, Replica, Task
from methods.recipe import Recipe
from methods.trained import TrainedMethod
from workflow.lib.layers import Head

QUERY_ROWS = 1024  # queries scored at a time: bounds the memory of R x M x D intermediates
LOG_SECONDS = 2.0


def trainable(method: TrainedMethod, task: Task, replica: Replica) -> int:
    """How many numbers one replica learns."""
    return sum(parameter.numel() for parameter in Head(method, task, [replica]).parameters())


def train(method: TrainedMethod, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
    """Train replicas of one shape side by side; yields a candidate after every epoch."""
    torch.set_num_threads(task.threads)
    recipe = [method.recipe(task, replica.params) for replica in replicas]
    data = _Supports(task, replicas)
    head = Head(method, task, replicas)
    step = _Step(head, recipe, data)
    progress = _Progress(task, method.name, len(replicas), recipe[0].epochs)
    for epoch in range(1, recipe[0].epochs + 1):
        loss = step.epoch()
        yield Candidate(replicas, partial(_classify, head, task.device), {"epoch": epoch})
        progress(epoch, loss)


class _Supports:
    """The supports on the device: `x (S N, D)`, `y (S N,)`, and where each replica's rows begin."""

    def __init__(self, task: Task, replicas: Sequence[Replica]) -> None:
        seeds = sorted({replica.seed for replica in replicas})
        supports = [task.supports[seed] for seed in seeds]
        self.size = len(supports[0].y)
        if any(len(support.y) != self.size for support in supports):
            raise ValueError("supports of different sizes can't be trained side by side")
        self.x = torch.from_numpy(np.concatenate([support.x for support in supports])).to(task.device)
        self.y = torch.from_numpy(np.concatenate([support.y for support in supports])).to(task.device)
        self._offsets = np.array([seeds.index(replica.seed) * self.size for replica in replicas])[:, None]
        self._rngs = [replica.rng("order") for replica in replicas]

    def order(self) -> Tensor:
        """Rows `(R, N)` of one epoch, each replica's shuffled by its own generator."""
        shuffled = np.stack([rng.permutation(self.size) for rng in self._rngs])
        return torch.from_numpy(shuffled + self._offsets).to(self.x.device, non_blocking=True)


def batches(size: int, batch_size: int) -> list[tuple[int, int]]:
    """Bounds of the batches of one epoch. A remainder of 1 joins the batch before it: BatchNorm can't take it."""
    width = min(batch_size or size, size)
    edges = [*range(0, size, width), size]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return list(pairwise(edges))


class _Step:
    """The optimiser of all replicas, and one epoch of it."""

    def __init__(self, head: Head, recipes: Sequence[Recipe], data: _Supports) -> None:
        self._head, self._data = head, data
        self._leaves = head.parameters()
        self._bounds = batches(data.size, recipes[0].batch_size)
        self._runs = _runs(recipes)
        groups = [_group(self._leaves, run, recipes[run.start]) for run in self._runs]
        self._optimizer = _optimizer(recipes[0], groups)
        self._schedule = LambdaLR(self._optimizer, partial(_factor, recipes[0], len(self._bounds)))

    def epoch(self) -> Tensor:
        """One pass over the support; the mean loss of each replica `(R,)`, still on the device."""
        self._head.train(True)
        order = self._data.order()
        total = torch.zeros(len(order), device=order.device)
        for start, stop in self._bounds:
            total += self._batch(order[:, start:stop]) * (stop - start)
        self._head.train(False)
        return total / self._data.size

    def _batch(self, rows: Tensor) -> Tensor:
        logits = self._head(self._data.x[rows])
        flat = functional.cross_entropy(logits.flatten(0, 1), self._data.y[rows].flatten(), reduction="none")
        loss = flat.view(rows.shape).mean(1)
        gradients = torch.autograd.grad(loss.sum(), self._leaves)
        for run, group in zip(self._runs, self._optimizer.param_groups, strict=True):
            for parameter, gradient in zip(group["params"], gradients, strict=True):
                # The fused kernel walks raw memory: a transposed gradient, as bmm's is, would hit the wrong weights.
                parameter.grad = gradient[run].contiguous()
        self._optimizer.step()
        self._schedule.step()
        return loss.detach()


def _runs(recipes: Sequence[Recipe]) -> list[slice]:
    """Neighbours with the same recipe, so that one optimiser group serves them."""
    edges = [i for i, recipe in enumerate(recipes) if i == 0 or recipe != recipes[i - 1]]
    return [slice(a, b) for a, b in pairwise([*edges, len(recipes)])]


def _group(leaves: Sequence[Tensor], run: slice, recipe: Recipe) -> dict[str, object]:
    rows = [leaf.detach()[run].requires_grad_() for leaf in leaves]  # views: the step updates the head in place
    return {"params": rows, "lr": recipe.lr, "weight_decay": recipe.weight_decay}


def _optimizer(recipe: Recipe, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, fused=True)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    return kind(groups, eps=recipe.eps, fused=True)


def _factor(recipe: Recipe, per_epoch: int, step: int) -> float:
    """The learning rate of a step as a share of the recipe's: linear warm-up, then constant or half a cosine."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    done = (step - recipe.warmup) / max(1, recipe.epochs * per_epoch - recipe.warmup)
    return float((1 + np.cos(np.pi * done)) / 2)


def _classify(head: Head, device: str, queries: Tensor) -> Tensor:
    """Logits `(R, M, K)` of queries `(M, D)`, in slices of rows."""
    with torch.no_grad():
        parts = [head(part) for part in torch.split(torch.as_tensor(queries, device=device), QUERY_ROWS)]
    return torch.cat(parts, 1)


class _Progress:
    """A log line every few seconds: epochs, loss, time left. Reading the loss is what waits for the device."""

    def __init__(self, task: Task, name: str, replicas: int, epochs: int) -> None:
        self._log, self._epochs = task.log, epochs
        self._start = self._said = time.monotonic()
        self._log(f"{name}: {replicas} trainings side by side, {epochs} epochs, on {task.device}")

    def __call__(self, epoch: int, loss: Tensor) -> None:
        now = time.monotonic()
        if now - self._said < LOG_SECONDS and epoch < self._epochs:
            return
        self._said = now
        left = (now - self._start) / epoch * (self._epochs - epoch)
        self._log(f"  epoch {epoch}/{self._epochs}, loss {loss.mean().item():.4f}, {left:.0f} s left")
