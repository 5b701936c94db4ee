"""Pooled CLIP features of one dataset under one backbone: the file that everything after extraction reads.

A features file is safetensors: `train_x (N, D)` float32, not normalised, and `train_y (N,)` int64, the same for `val`
and `test` where they exist, `text (K, T, D)` (one embedding per class and template) where there is text,
`train_views (N, V, D)` (augmented views of the train images, not normalised) where they were asked for, and
`logit_scale ()`. What the features depend on is metadata. This module needs no torch.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from workflow.lib import files
from workflow.lib.errors import UserError, one_line
from workflow.lib.index import SPLITS, check_classnames

FORMAT = 1
# safetensors keeps its metadata in no fixed order. All of ours is the JSON under this one key, so that equal features
# are equal bytes and their hash can stand for them.
_METADATA_KEY = "features"
_VIEWS = "train_views"

Array = NDArray[Any]


@dataclass(frozen=True)
class Split:
    """Images of one split: embeddings `x (N, D)` float32, not normalised, and class indices `y (N,)` int64."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Features:
    """The features of a dataset: splits, class names (K), text `(K, T, D)` or `None`, exp(logit_scale).

    `metadata` is JSON-like: what the features were made from. `files` there lists the images of each split.
    `train_views (N, V, D)` are augmented views of the images of train, not normalised, or `None`.
    """

    splits: Mapping[str, Split]
    classnames: tuple[str, ...]
    text: NDArray[np.float32] | None
    logit_scale: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    train_views: NDArray[np.float32] | None = None

    def class_text(self) -> NDArray[np.float32] | None:
        """The unit text embedding of each class `(K, D)`: templates normalised, averaged, normalised again."""
        return None if self.text is None else unit(unit(self.text).mean(axis=1))


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """`x` with its last axis scaled to length 1; a zero vector stays zero."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return (x / np.where(norm > 0, norm, 1)).astype(np.float32, copy=False)


def write(path: str | os.PathLike[str], features: Features) -> None:
    """Write `features` atomically. Raises `UserError` where `check` does: what can't be read is not written."""
    check(features, os.fspath(path))
    tensors: dict[str, Array] = {"logit_scale": np.array(features.logit_scale, dtype=np.float32)}
    for name, split in features.splits.items():
        tensors[f"{name}_x"], tensors[f"{name}_y"] = split.x, split.y
    if features.text is not None:
        tensors["text"] = features.text
    if features.train_views is not None:
        tensors[_VIEWS] = features.train_views
    metadata = {**features.metadata, "format": FORMAT, "classnames": features.classnames}
    header = {_METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)}
    with files.atomic(path) as temporary:
        # The writer takes the bytes behind the array as they lie: a transposed view would be stored scrambled.
        plain = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
        try:
            save_file(plain, temporary, header)
        except SafetensorError as error:  # a full disk, most likely: the library's own kind of OSError
            raise UserError(f"{os.fspath(path)}: can't be written: {one_line(error)}") from error


def read(path: str | os.PathLike[str], splits: Collection[str] | None = None, views: bool = False) -> Features:
    """Read a features file: the named `splits`, or all that it has. The others are not even loaded.

    Nor are the views of train, the largest part of a file that has them, unless `views`.

    Raises `UserError` where the file is missing, is no features file, lacks a split or holds wrong values.
    """
    where = os.fspath(path)
    if not Path(path).is_file():
        raise UserError(f"{where}: no such features file")
    try:
        with safe_open(where, framework="numpy") as file:
            metadata = _parse_metadata(file.metadata(), where)
            tensors = {key: file.get_tensor(key) for key in _wanted(file.keys(), splits, views, where)}
    except SafetensorError as error:
        raise UserError(f"{where}: not a safetensors file, or cut short ({one_line(error)})") from error
    return assemble(tensors, metadata.pop("classnames"), metadata, where)


def _parse_metadata(header: dict[str, str] | None, where: str) -> dict[str, Any]:
    try:
        metadata = json.loads((header or {}).get(_METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        metadata = None
    known = isinstance(metadata, dict) and metadata.pop("format", None) == FORMAT
    if not known or not isinstance(metadata.get("classnames"), list) or not _lists_files(metadata):
        raise UserError(f"{where}: not a features file of format {FORMAT}; delete it, and the next run makes it anew")
    return dict(metadata)


def _lists_files(metadata: Mapping[str, Any]) -> bool:
    """Whether what the metadata say of the images is in the form in which it is written."""
    listed, views = metadata.get("files", {}), metadata.get("views", {})
    if not isinstance(listed, dict) or not isinstance(views, dict):
        return False
    return all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in listed.values())


def _wanted(keys: Collection[str], splits: Collection[str] | None, views: bool, where: str) -> list[str]:
    """The tensors to load for `splits`: theirs, train's views if asked for, and those that belong to no split."""
    there = [split for split in SPLITS if f"{split}_x" in keys]
    missing = sorted(set(splits or ()) - set(there))
    if missing:
        raise UserError(f"{where}: no split {', '.join(missing)}; it has {', '.join(there)}")
    skipped = {f"{split}_{part}" for split in there if splits and split not in splits for part in "xy"}
    if not views or "train_x" in skipped:
        skipped.add(_VIEWS)
    return sorted(set(keys) - skipped)


def assemble(tensors: Mapping[str, Array], classnames: list[str], metadata: dict[str, Any], where: str) -> Features:
    """Checked `Features` from named arrays: those of a features file, whose `where` stands in errors.

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
    features = Features(splits, tuple(classnames), text, float(scale.reshape(())), metadata, views)
    check(features, where)
    return features


def kind(array: Array) -> str:
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
    """Raise a `UserError` that begins with `where` unless shapes, values, labels, names and files agree."""
    try:
        check_classnames(features.classnames)
        widths = {f"{name}_x": _check_split(name, split, features) for name, split in features.splits.items()}
        if not widths:
            raise UserError("no images: train_x and train_y are wanted")
        if features.text is not None:
            widths["text"] = _check_text(features.text, len(features.classnames))
        if features.train_views is not None:
            widths[_VIEWS] = _check_views(features.train_views, features)
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
    if x.ndim != 2 or 0 in x.shape:
        raise UserError(f"{name}_x has shape {x.shape}; (N, D) is wanted")
    if y.shape != x.shape[:1]:
        raise UserError(f"{name}_y has shape {y.shape}; {x.shape[:1]} is wanted, one label for each row of {name}_x")
    if (rows := np.flatnonzero(~np.isfinite(x).all(axis=1))).size:
        raise UserError(f"{name}_x has NaN or infinite values, first in row {rows[0]}")
    if (rows := np.flatnonzero((y < 0) | (y >= classes))).size:
        raise UserError(f"{name}_y has label {y[rows[0]]} in row {rows[0]}; labels go from 0 to {classes - 1}")
    if name == "train" and (empty := np.flatnonzero(np.bincount(y, minlength=classes) == 0)).size:
        raise UserError(f"train has no image of class {empty[0]} ({features.classnames[empty[0]]!r})")
    listed = features.metadata.get("files", {}).get(name)
    if listed is not None and len(listed) != len(x):
        raise UserError(f"{name}_x has {len(x)} rows, but the metadata lists {len(listed)} files")
    return int(x.shape[1])


def _check_text(text: NDArray[np.float32], classes: int) -> int:
    """Check the text embeddings; returns D."""
    if text.ndim != 3 or text.shape[0] != classes or 0 in text.shape:
        raise UserError(f"text has shape {text.shape}; (K, T, D) with K = {classes} is wanted")
    if not np.isfinite(text).all():
        raise UserError("text has NaN or infinite values")
    return int(text.shape[2])


def _check_views(views: NDArray[np.float32], features: Features) -> int:
    """Check the views of train; returns D."""
    rows = len(features.splits["train"].x) if "train" in features.splits else 0
    if views.ndim != 3 or views.shape[0] != rows or 0 in views.shape:
        raise UserError(f"{_VIEWS} has shape {views.shape}; (N, V, D) with N = {rows}, the rows of train_x, is wanted")
    if (wrong := np.flatnonzero(~np.isfinite(views).all(axis=(1, 2)))).size:
        raise UserError(f"{_VIEWS} has NaN or infinite values, first in row {wrong[0]}")
    recorded = features.metadata.get("views", {}).get("count", views.shape[1])
    if recorded != views.shape[1]:
        raise UserError(f"{_VIEWS} has {views.shape[1]} views of each image, but the metadata says {recorded}")
    return int(views.shape[2])
