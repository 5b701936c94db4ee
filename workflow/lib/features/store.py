"""Pooled CLIP features of one dataset under one backbone: the file that everything after extraction reads.

A features file is safetensors: `train_x (N, D)` float32, not normalised, and `train_y (N,)` int64, the same for `val`
and `test` where they exist, `text (K, T, D)` (one embedding per class and template) where there is text,
`train_views (N, V, D)` (augmented views of the train images, not normalised) where they were asked for,
`text_each (K, P, D)` where features made elsewhere have it (those of a model have `text`, which is the same),
`logit_scale ()`, `train_files`, the names of the images, where there are images, and `train_folds (N,)` int64 where
the dataset is cross-validated. What the features depend on is metadata. Embeddings are read when rows of them are
taken: see `workflow.lib.features.tensorfile`. Needs no torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Projection, unit
from workflow.lib.data.index import SPLITS, check_classnames
from workflow.lib.errors import UserError
from workflow.lib.features import filelists, tensorfile
from workflow.lib.features.blocks import Array, Rows, check_finite
from workflow.lib.features.filelists import FileLists
from workflow.lib.features.stream import Stream
from workflow.lib.features.tensorfile import TensorFile

_VIEWS = "train_views"
_TEXT_EACH = "text_each"
_FOLDS = "train_folds"


@dataclass(frozen=True)
class Split:
    """Images of one split: embeddings `x (N, D)` float32, not normalised, and class indices `y (N,)` int64.

    `pre (N, D')` and `spatial_logits (N, 2, K)` are there where they were read too: `workflow.lib.features.arrays`; and
    in `images`, by name, arrays whose rows are images, or what blocks of the model make of them.
    """

    x: Rows
    y: NDArray[np.int64]
    pre: Rows | None = None
    spatial_logits: Rows | None = None
    images: Mapping[str, Rows] = field(default_factory=dict)

    def part(self, rows: NDArray[np.int64]) -> Split:
        """Some of the images."""
        pre, spatial = (None if rest is None else rest[rows] for rest in (self.pre, self.spatial_logits))
        images = {name: Stream(rest, rows) for name, rest in self.images.items()}
        return Split(self.x[rows], self.y[rows], pre, spatial, images)


@dataclass(frozen=True)
class Features:
    """The features of a dataset: splits, class names (K), text `(K, T, D)` or `None`, exp(logit_scale).

    `metadata` is JSON-like: what the features were made from. `train_views (N, V, D)` are augmented views of the images
    of train, not normalised, or `None`. `files` lists the images of each split, where there are images. `sha256` is the
    checksum of the file that they were read from. `folds (N,)` are those of the images of train, from 0, or `None`.
    `text_each (K, P, D)` are the prompts one by one, not normalised, where `text` is not already that. `projection` and
    `views_pre (N, V, D')` come with `pre`. `lacking` says of an array that was looked for why there is none.
    """

    splits: Mapping[str, Split]
    classnames: tuple[str, ...]
    text: NDArray[np.float32] | None
    logit_scale: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    train_views: Rows | None = None
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)
    sha256: str = ""
    folds: NDArray[np.int64] | None = None
    text_each: NDArray[np.float32] | None = None
    projection: Projection | None = None
    views_pre: Rows | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)

    def each_text(self) -> NDArray[np.float32] | None:
        """Every prompt's embedding `(K, P, D)`, not normalised. A model's `text` is that; one from elsewhere is not."""
        from_elsewhere = "features" in self.metadata.get("spec", {})
        return self.text if self.text_each is None and not from_elsewhere else self.text_each

    def class_text(self) -> NDArray[np.float32] | None:
        """The unit text embedding of each class `(K, D)`: templates normalised, averaged, normalised again."""
        return None if self.text is None else unit(unit(self.text).mean(axis=1))

    def raw_text(self) -> NDArray[np.float32] | None:
        """The mean of each class's text embeddings `(K, D)` at the length that they have in the file."""
        return None if self.text is None else self.text.mean(axis=1)


def write(path: str | os.PathLike[str], features: Features) -> None:
    """Write `features` atomically. Raises `UserError` where `check` does: what can't be read is not written."""
    where = os.fspath(path)
    check(features, where)
    tensors: dict[str, Rows] = {"logit_scale": np.array(features.logit_scale, dtype=np.float32)}
    for name, split in features.splits.items():
        tensors[f"{name}_x"], tensors[f"{name}_y"] = split.x, split.y
    for name in (name for name in features.splits if name in features.files):
        rows, listed = len(features.splits[name].y), features.files[name]
        if len(listed) != rows:
            raise UserError(f"{where}: {name}_x has {rows} rows, but {len(listed)} files are listed")
        tensors[filelists.key(name)] = filelists.pack(listed)
    if features.text is not None:
        tensors["text"] = features.text
    beside = {_TEXT_EACH: features.text_each, _VIEWS: features.train_views, _FOLDS: features.folds}
    tensors |= {name: array for name, array in beside.items() if array is not None}
    tensorfile.write(path, tensors, {**features.metadata, "classnames": features.classnames})


def read(path: str | os.PathLike[str], splits: Collection[str] | None = None) -> Features:
    """Open a features file: the named `splits`, or all that it has. Of the others not even the labels are read.

    Embeddings are read, and held against their checksums, when rows of them are taken.
    Raises `UserError` where the file is missing, is no features file, is damaged, lacks a split or holds wrong values.
    """
    file = TensorFile(path)
    metadata = dict(file.metadata)
    names = metadata.pop("classnames", None)
    if not isinstance(names, list):
        raise UserError(f"{file.where}: a part of features, made by one of several shards; the whole of them is wanted")
    found = {name: Split(file[f"{name}_x"], np.asarray(file[f"{name}_y"])) for name in _wanted(file, splits)}
    text = np.asarray(file["text"]) if "text" in file else None
    views = file.get(_VIEWS) if "train" in found else None
    folds = np.asarray(file[_FOLDS]) if _FOLDS in file and "train" in found else None
    scale = np.asarray(file["logit_scale"])
    if scale.shape:
        raise UserError(f"{file.where}: logit_scale is {kind(scale)}; a single number is wanted")
    each = np.asarray(file[_TEXT_EACH]) if _TEXT_EACH in file else None
    features = Features(
        found, tuple(names), text, float(scale), metadata, views, FileLists(file), file.sha256, folds, each
    )
    check(features, file.where)
    return features


def _wanted(file: TensorFile, splits: Collection[str] | None) -> list[str]:
    """The splits to open: those named, or all that there are."""
    there = [split for split in SPLITS if f"{split}_x" in file]
    if missing := sorted(set(splits or ()) - set(there)):
        raise UserError(f"{file.where}: no split {', '.join(missing)}; it has {', '.join(there)}")
    return [split for split in there if not splits or split in splits]


def assemble(tensors: Mapping[str, Array], classnames: list[str], metadata: dict[str, Any], where: str) -> Features:
    """Checked `Features` from named arrays: those of a file made elsewhere, whose `where` stands in errors.

    Embeddings of any floating-point type become float32, labels of any integer type int64. Arrays of other names
    are left alone. Raises `UserError`.
    """
    splits = {
        split: Split(_floats(tensors, f"{split}_x", where), _labels(tensors, f"{split}_y", where))
        for split in SPLITS
        if f"{split}_x" in tensors or f"{split}_y" in tensors
    }
    text = _floats(tensors, "text", where) if "text" in tensors else None
    scale = _floats(tensors, "logit_scale", where)
    if scale.size != 1:
        raise UserError(f"{where}: logit_scale is {kind(scale)}; a single number is wanted")
    views = _floats(tensors, _VIEWS, where) if _VIEWS in tensors else None
    each = _floats(tensors, _TEXT_EACH, where) if _TEXT_EACH in tensors else None
    scalar = float(scale.reshape(()))
    features = Features(splits, tuple(classnames), text, scalar, metadata, views, text_each=each)
    check(features, where)
    for name, split in splits.items():
        check_finite(np.asarray(split.x), f"{name}_x", 0, where)
    if views is not None:
        check_finite(views, _VIEWS, 0, where)
    return features


def kind(array: Rows) -> str:
    """Type and shape of an array, for errors."""
    return f"{array.dtype} of shape {array.shape}"


def _floats(tensors: Mapping[str, Array], key: str, where: str) -> NDArray[np.float32]:
    if key not in tensors:
        raise UserError(f"{where}: no array {key}")
    if tensors[key].dtype.kind != "f":
        raise UserError(f"{where}: {key} is {kind(tensors[key])}; floating-point numbers are wanted")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, which `check` reports
        return tensors[key].astype(np.float32, copy=False)


def _labels(tensors: Mapping[str, Array], key: str, where: str) -> NDArray[np.int64]:
    if key not in tensors:
        raise UserError(f"{where}: no array {key}")
    if tensors[key].dtype.kind not in "iu":
        raise UserError(f"{where}: {key} is {kind(tensors[key])}; integers from 0 to K - 1 are wanted")
    return tensors[key].astype(np.int64, copy=False)


def check(features: Features, where: str) -> None:
    """Raise a `UserError` that begins with `where` unless shapes, labels, names and text are sound.

    Whether embeddings are finite is seen when they are written, and again whenever they are read.
    """
    try:
        check_classnames(features.classnames)
        widths = {f"{name}_x": _check_split(name, split, features) for name, split in features.splits.items()}
        if not widths:
            raise UserError("no images: train_x and train_y are wanted")
        texts = {"text": features.text, _TEXT_EACH: features.text_each}
        there = {name: text for name, text in texts.items() if text is not None}
        widths |= {name: _check_text(text, len(features.classnames), name) for name, text in there.items()}
        if features.train_views is not None:
            widths[_VIEWS] = _check_views(features.train_views, features)
        if features.folds is not None and features.folds.shape != features.splits["train"].y.shape:
            raise UserError(f"{_FOLDS} has shape {features.folds.shape}; one for each row of train_x is wanted")
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{key} has {width}" for key, width in widths.items())
            raise UserError(f"the number of dimensions D differs: {found}")
        if not (math.isfinite(features.logit_scale) and features.logit_scale > 0):
            raise UserError(f"logit_scale is {features.logit_scale}; a positive number is wanted")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check_split(name: str, split: Split, features: Features) -> int:
    """Check one split; returns D."""
    x, y, classes = split.x, split.y, len(features.classnames)
    for key, array, dtype in ((f"{name}_x", x, np.float32), (f"{name}_y", y, np.int64)):
        if array.dtype != dtype:
            raise UserError(f"{key} is {kind(array)}; {np.dtype(dtype)} is wanted")
    if len(x.shape) != 2 or 0 in x.shape:
        raise UserError(f"{name}_x has shape {x.shape}; (N, D) is wanted")
    if y.shape != x.shape[:1]:
        raise UserError(f"{name}_y has shape {y.shape}; {x.shape[:1]} is wanted, one label for each row of {name}_x")
    if (rows := np.flatnonzero((y < 0) | (y >= classes))).size:
        raise UserError(f"{name}_y has label {y[rows[0]]} in row {rows[0]}; labels go from 0 to {classes - 1}")
    if name == "train" and (empty := np.flatnonzero(np.bincount(y, minlength=classes) == 0)).size:
        raise UserError(f"train has no image of class {empty[0]} ({features.classnames[empty[0]]!r})")
    return int(x.shape[1])


def _check_text(text: NDArray[np.float32], classes: int, name: str) -> int:
    """Check the text embeddings; returns D."""
    if text.dtype != np.float32 or text.ndim != 3 or text.shape[0] != classes or 0 in text.shape:
        raise UserError(f"{name} has shape {text.shape}; (K, T, D) with K = {classes} is wanted")
    if not np.isfinite(text).all():
        raise UserError(f"{name} has NaN or infinite values")
    return int(text.shape[2])


def _check_views(views: Rows, features: Features) -> int:
    """Check the views of train; returns D."""
    rows = len(features.splits["train"].x) if "train" in features.splits else 0
    if len(views.shape) != 3 or views.shape[0] != rows or 0 in views.shape:
        raise UserError(f"{_VIEWS} has shape {views.shape}; (N, V, D) with N = {rows}, the rows of train_x, is wanted")
    said = features.metadata.get("views")
    recorded = said.get("count", views.shape[1]) if isinstance(said, Mapping) else views.shape[1]
    if recorded != views.shape[1]:
        raise UserError(f"{_VIEWS} has {views.shape[1]} views of each image, but the metadata says {recorded}")
    return int(views.shape[2])
