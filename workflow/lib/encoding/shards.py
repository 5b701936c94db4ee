"""Extraction in shards: which images each of several jobs takes, its part in a file, and the whole gathered from parts.

Images are taken in batches, and a batch is never cut: whatever the number of shards, every batch holds the same images,
so that every embedding is the same to the last bit. This module needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Projection
from workflow.lib.data.index import Index
from workflow.lib.errors import UserError
from workflow.lib.features import arrays, tensorfile, took
from workflow.lib.features.blocks import Array, Rows
from workflow.lib.features.store import Features, Split
from workflow.lib.features.tensorfile import TensorFile


@dataclass(frozen=True)
class Shard:
    """Shard `number`, from 1 to `count`."""

    number: int = 1
    count: int = 1

    def rows(self, images: int, batch_size: int) -> range:
        """Its share of so many images in whole batches; empty where there are more shards than batches."""
        batches = -(-images // batch_size)
        first, last = (
            -(-batches * i // self.count) for i in (self.number - 1, self.number)
        )  # the first is never empty
        return range(first * batch_size, min(last * batch_size, images))

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count}"


WHOLE = Shard()


@dataclass(frozen=True)
class Part:
    """What one shard has made: embeddings `x (N, D)` of the images `start` and up, counted split after split.

    `views (M, V, D)` are those of the images `views_start` and up of train. The first shard alone has the `text`. The
    rows of images `left_out`, which can't be read, with the reason for each, say nothing. A shard without images has
    neither `x` nor metadata.

    Of an `array` beside the features, `x` and `views` are its rows, with the `projection`; or it says why it is
    `absent`.
    """

    start: int = 0
    x: Rows | None = None
    views_start: int = 0
    views: Rows | None = None
    text: NDArray[np.float32] | None = None
    logit_scale: float = 0.0
    metadata: dict[str, Any] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    array: str = ""
    projection: Projection | None = None
    absent: str = ""
    seconds: float = 0.0  # that its making took


def write(path: str | os.PathLike[str], part: Part) -> None:
    """Write a part. Raises `UserError` for values that are NaN or infinite."""
    tensors = {"x": part.x, "views": part.views, "text": part.text}
    numbers = {"start": part.start, "views_start": part.views_start, "logit_scale": part.logit_scale}
    made: dict[str, Rows] = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if part.projection is not None:
        made |= part.projection._asdict()
    beside = {"array": part.array, "absent": part.absent, "seconds": part.seconds}
    tensorfile.write(path, made, {"part": numbers | beside, "made": part.metadata, "left_out": dict(part.left_out)})


def read(path: str | os.PathLike[str]) -> Part:
    """Open a part, whose embeddings are read when they are taken. Raises `UserError` where the file holds none."""
    file = TensorFile(path)
    if "part" not in file.metadata:
        raise UserError(f"{file.where}: not the part of a shard; {tensorfile.REMEDY}")
    text = np.asarray(file["text"]) if "text" in file else None
    x, views = (file.get(name) for name in ("x", "views"))
    numbers, made, left_out = (file.metadata[key] for key in ("part", "made", "left_out"))
    last = Projection(*(np.asarray(file[key]) for key in Projection._fields)) if "weight" in file else None
    return Part(**numbers, x=x, views=views, text=text, metadata=made, left_out=left_out, projection=last)


def say_how_long(path: str | os.PathLike[str], index: Index, parts: Sequence[Part]) -> None:
    """Write down beside the features, or an array, what all of its parts took."""
    made = next((part.metadata for part in parts if part.metadata is not None), {})
    images = sum(map(len, index.splits.values()))
    took.write(path, sum(part.seconds for part in parts), images, str(made.get("device", "")))


def gather(index: Index, parts: Sequence[Part]) -> Features:
    """The features of the images in `index` from all of its parts, none of which is loaded.

    What a part has left out has no row, no label and no name in them, and stands in the metadata as `left_out`.
    Raises `UserError` where they don't fit together: made by different models or on different devices, or one missing.
    """
    made = [part for part in parts if part.metadata is not None]
    for part in made:
        _check_alike(made[0], part)
    left_out = {file: reason for part in made for file, reason in part.left_out.items()}
    x = _joined("images", [(part.start, part.x) for part in made], sum(map(len, index.splits.values())))
    splits, files, end, views, folds = {}, {}, 0, None, None
    for name, entries in index.splits.items():
        start, end = end, end + len(entries)
        kept = _kept([file for file, _ in entries], left_out)
        labels = np.array([label for _, label in entries], dtype=np.int64)
        splits[name] = Split(_selected(x, start, kept), labels[kept])
        files[name] = [entries[row][0] for row in kept]
        if name == "train" and any(part.views is not None for part in made):
            of_train = [(part.views_start, part.views) for part in made]
            views = _selected(_joined("images with views", of_train, len(entries)), 0, kept)
        if name == "train" and index.folds:
            folds = np.array(index.folds, dtype=np.int64)[kept]
    metadata = {**(made[0].metadata or {}), **({"left_out": left_out} if left_out else {})}
    text, scale = made[0].text, made[0].logit_scale
    return Features(splits, index.classnames, text, scale, metadata, views, files, folds=folds)


def gather_array(index: Index, parts: Sequence[Part]) -> arrays.Array:
    """The array beside the features of the images in `index`, likewise."""
    first = next(part for part in parts if part.metadata is not None)
    if first.absent:
        return arrays.Array(first.array, metadata=first.metadata or {}, absent=first.absent)
    made = gather(index, parts)
    rows = {name: split.x for name, split in made.splits.items()}
    return arrays.Array(first.array, rows, made.metadata, made.train_views, first.projection)


def _kept(files: Sequence[str], left_out: Mapping[str, str]) -> NDArray[np.int64]:
    """The rows of a split's images without those that are left out."""
    return np.flatnonzero([file not in left_out for file in files])


def _selected(pieces: Sequence[tuple[int, Rows]], start: int, rows: NDArray[np.int64]) -> _Joined:
    """These rows, counted from `start` on and ascending: runs of them side by side are pieces again."""
    found: list[tuple[int, _Joined]] = []
    end = 0
    for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
        first, last = (start + int(run[0]), start + int(run[-1]) + 1) if len(run) else (start, start)
        found.append((end, _Joined(pieces, first, last)))
        end += last - first
    return found[0][1] if len(found) == 1 else _Joined(found, 0, end)


def _check_alike(first: Part, other: Part) -> None:
    """What the features depend on is the same in every shard, the GPU or its lack included."""
    ours, theirs = first.metadata or {}, other.metadata or {}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            found = f"{ours.get(key)!r} in one and {theirs.get(key)!r} in another"
            raise UserError(f"the shards were not made alike: {key} is {found}; add --forcerun shard to the command")


def _joined(what: str, found: Sequence[tuple[int, Rows | None]], total: int) -> Sequence[tuple[int, Rows]]:
    """The pieces that there are, each with the number of its first row, if they are `total` rows without a gap."""
    pieces, end = [(start, piece) for start, piece in found if piece is not None], 0
    for start, piece in pieces:
        if start != end:
            break
        end += len(piece)
    if end != total or end != sum(len(piece) for _, piece in pieces):
        message = f"the shards don't make up the {total} {what} of the index: after {end} there is a gap or no more"
        raise UserError(f"{message}; add --forcerun shard to the command")
    return pieces


class _Joined:
    """Rows `start` to `stop` of several pieces as if they were one array; what is taken of them is a slice."""

    def __init__(self, pieces: Sequence[tuple[int, Rows]], start: int, stop: int) -> None:
        self._pieces, self._start = pieces, start
        self.dtype = pieces[0][1].dtype
        self.shape = (stop - start, *pieces[0][1].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows: slice) -> Array:
        """A slice without a step."""
        start, stop = (edge + self._start for edge in rows.indices(len(self))[:2])
        return np.concatenate(
            [
                piece[max(start - first, 0) : max(stop - first, 0)]
                for first, piece in self._pieces
                if first < stop and start < first + len(piece)
            ]
        )
