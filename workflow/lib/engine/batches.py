"""What the engine trains on: the samples of all replicas on the device, each replica in an order of its own."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.contract.base import Replica, Support, Task
from methods.contract.recipe import Recipe
from workflow.lib.engine.heads import Trainable
from workflow.lib.engine.noise import places, put


class Batches:
    """The batches of R replicas without end: `x (R, B, D)` and `y (R, B)`. `per_epoch` steps see every sample once.

    With one source an epoch's batches lie in the same memory as every other's: `shuffle`, then `batch(i)`.
    """

    def __init__(self, method: Trainable, task: Task, replicas: Sequence[Replica], recipe: Recipe) -> None:
        supports = list(zip(*(method.sources(task.of(replica), replica) for replica in replicas), strict=True))
        if recipe.views:
            supports[0][0].every_view()  # says what to do where there are none
        self._sources = [Source(own, i, replicas, recipe, task) for i, own in enumerate(supports)]
        self.per_epoch = self._sources[0].count
        self.fixed = len(self._sources) == 1  # others come round at other times
        self._batches = [source.batches() for source in self._sources]

    @property
    def only(self) -> "Source":
        """The one source."""
        return self._sources[0]

    def shuffle(self) -> None:
        """Begin another epoch of the one source."""
        self._sources[0].shuffle()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """A batch of the epoch that has begun."""
        return self._sources[0].batch(step)

    def snapshot(self) -> list[dict[str, Any]]:
        """Where the random numbers of the sources are, between two epochs."""
        return [source.snapshot() for source in self._sources]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Go on from there."""
        for source, own in zip(self._sources, state, strict=True):
            source.restore(own)

    def __next__(self) -> tuple[Tensor, Tensor]:
        parts = [next(batches) for batches in self._batches]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([x for x, _ in parts], 1), torch.cat([y for _, y in parts], 1)


def _stream(purpose: str, source: int) -> str:
    """The name of a random stream of a source."""
    return f"{purpose}{source}" if source else purpose


def bounds(size: int, batch_size: int) -> list[tuple[int, int]]:
    """Bounds of the batches of one epoch. A remainder of 1 joins the batch before it: BatchNorm can't take it."""
    width = min(batch_size or size, size)
    edges = [*range(0, size, width), size]
    if len(edges) > 2 and edges[-1] - edges[-2] == 1:
        del edges[-2]
    return list(pairwise(edges))


class _Views:
    """Which of its V views stands for each image in an epoch: one drawn for each, or the next one for all."""

    def __init__(self, kind: str, count: int, rngs: Sequence[np.random.Generator]) -> None:
        self._kind, self.count, self.rngs = kind, count, rngs
        self.turn = -1

    def __call__(self, size: int) -> NDArray[np.int64]:
        """Of the next epoch, for each replica, `(R, size)`."""
        self.turn += 1
        if self._kind == "random":
            return np.stack([rng.integers(self.count, size=size) for rng in self.rngs])
        return np.full((len(self.rngs), size), self.turn % self.count)


class Source:
    """One set of samples for each replica; replicas that share it share its memory."""

    def __init__(
        self, supports: Sequence[Support], place: int, replicas: Sequence[Replica], recipe: Recipe, task: Task
    ) -> None:
        device = task.device
        self._size = len(supports[0].y)
        self._rngs, for_views = ([r.rng(_stream(name, place)) for r in replicas] for name in ("order", "views"))
        if any(len(support.y) != self._size for support in supports):
            raise ValueError("supports of different sizes can't be trained side by side")
        viewed = bool(recipe.views) and supports[0].views is not None
        keys = [id(support.views if viewed else support.x) for support in supports]
        distinct = dict(zip(keys, supports, strict=True))
        for support in distinct.values():
            if support.y.min() < 0 or support.y.max() >= task.classes:
                found = f"{support.y.min()} to {support.y.max()}"
                raise ValueError(f"labels to train on go from {found}; there are classes 0 to {task.classes - 1}")
        samples = [support.every_view() if viewed else support for support in distinct.values()]
        self._views = _Views(recipe.views, len(samples[0].y) // self._size, for_views) if viewed else None
        self.x = torch.from_numpy(np.concatenate([one.x for one in samples])).to(device)
        self.y = torch.from_numpy(np.concatenate([one.y for one in samples])).to(device)
        first_row = dict(zip(distinct, count(step=self._size), strict=False))
        self.first = np.array([[first_row[key]] for key in keys])
        self.bounds = bounds(self._size, recipe.batch_size)
        self.count = len(self.bounds)
        # The rows of a batch lie together, so that a step needs a view and a gather.
        self._rows = torch.empty(len(supports) * self._size, dtype=torch.int64, device=device)
        self._labels = torch.empty_like(self._rows)
        sizes = [(stop - start) * len(supports) for start, stop in self.bounds]
        shape = len(supports), -1
        widths = {stop - start for start, stop in self.bounds}
        room = [self.x.new_empty(len(supports), width, self.x.shape[1]) for width in widths]
        self._room = {x.shape[1]: (x, x.flatten(0, 1)) for x in room}
        self._parts = [
            (rows, labels.view(shape))
            for rows, labels in zip(torch.split(self._rows, sizes), torch.split(self._labels, sizes), strict=True)
        ]

    def snapshot(self) -> dict[str, Any]:
        """Where its random numbers are."""
        of_views = {"views": places(self._views.rngs), "turn": self._views.turn} if self._views else {}
        return {"order": places(self._rngs), **of_views}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        put(self._rngs, state["order"])
        if self._views:
            put(self._views.rngs, state["views"])
            self._views.turn = state["turn"]

    def draw(self) -> NDArray[np.int64]:
        """A new order of the samples, each replica's from its own generator: rows of `x`, `(R, n)`."""
        images = np.stack([rng.permutation(self._size) for rng in self._rngs])
        order = images + self.first
        if self._views:
            order = order * self._views.count + np.take_along_axis(self._views(self._size), images, 1)
        return order

    def shuffle(self) -> None:
        """Another epoch in another order."""
        order = self.draw()
        rows = np.concatenate([order[:, start:stop].ravel() for start, stop in self.bounds])
        self._rows.copy_(torch.from_numpy(rows))
        torch.index_select(self.y, 0, self._rows, out=self._labels)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """`x (R, B, D)`, which the next step writes over, and `y (R, B)` of a step of the epoch."""
        rows, labels = self._parts[step]
        x, flat = self._room[labels.shape[1]]
        torch.index_select(self.x, 0, rows, out=flat)
        return x, labels

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batch after batch, epoch after epoch."""
        while True:
            self.shuffle()
            for step in range(self.count):
                yield self.batch(step)
