"""Arrays beside the pooled features, each in a file of its own: only the methods that need one wait for it.

`pre` is each image before the tower's last projection, `pre (N, D')` of each split with `train_views (N, V, D')` where
there are views, and the projection, `projection (D', D)` and `projection_bias (D,)`. `spatial_logits (N, 2, K)` is what
the image's tokens add to the logits. `pixels (N, H, W, 3)` are the images themselves, bytes, cut to the model's size;
`blocks<n> (N, …)` is what goes into the last n blocks of the image tower. The file lies beside the features,
`<dataset>.pre.safetensors`, in the same format, and says what it was made from. Where a backbone has no such array, the
file says why. Needs no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from methods.contract import needs
from methods.contract.base import Projection
from workflow.lib.data.index import SPLITS
from workflow.lib.errors import UserError
from workflow.lib.features import tensorfile
from workflow.lib.features.blocks import Rows
from workflow.lib.features.store import Features
from workflow.lib.features.tensorfile import TensorFile

_VIEWS, _WEIGHT, _BIAS = "train_views", "projection", "projection_bias"
# What the features and an array beside them have in common, or they are not of the same images and model.
_ALIKE = ("index", "weights_sha256", "preprocess", "precision", "activation", "left_out")
_OF_TEXT = ("templates", "names")


@dataclass(frozen=True)
class Array:
    """One array: its rows by split, or the reason for which the backbone has none (`absent`).

    `views` and `projection` are of `pre` alone. `metadata` is what the array was made from.
    """

    name: str
    splits: Mapping[str, Rows] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    views: Rows | None = None
    projection: Projection | None = None
    absent: str = ""


def write(path: str | os.PathLike[str], made: Array) -> None:
    """Write an array atomically. Raises `UserError` for values that are NaN or infinite."""
    tensors: dict[str, Rows] = {f"{split}_{made.name}": rows for split, rows in made.splits.items()}
    if made.views is not None:
        tensors[_VIEWS] = made.views
    if made.projection is not None:
        tensors[_WEIGHT], tensors[_BIAS] = made.projection
    tensorfile.write(path, tensors, {**made.metadata, "array": made.name, "absent": made.absent})


def read(path: str | os.PathLike[str]) -> Array:
    """Open an array, whose rows are read when they are taken. Raises `UserError` where the file holds none."""
    file = TensorFile(path)
    metadata = dict(file.metadata)
    name, absent = metadata.pop("array", ""), metadata.pop("absent", "")
    if not needs.is_array(name):
        raise UserError(f"{file.where}: not an array beside features; {tensorfile.REMEDY}")
    splits = {split: file[f"{split}_{name}"] for split in SPLITS if f"{split}_{name}" in file}
    last = Projection(*(np.asarray(file[key]) for key in (_WEIGHT, _BIAS))) if _WEIGHT in file else None
    return Array(name, splits, metadata, file.get(_VIEWS), last, absent)


def added(features: Features, array: Array, where: str) -> Features:
    """The features with an array beside them. Raises `UserError`, beginning with `where`, unless it is theirs."""
    if array.absent:
        return replace(features, lacking={**features.lacking, array.name: array.absent})
    _check_alike(features, array, where)
    check(features, array, where)
    rows = array.splits
    if needs.is_image(array.name):
        held = {
            name: replace(split, images={**split.images, array.name: rows[name]})
            for name, split in features.splits.items()
        }
        return replace(features, splits=held)
    if array.name == "pre":
        splits = {name: replace(split, pre=rows[name]) for name, split in features.splits.items()}
        return replace(features, splits=splits, projection=array.projection, views_pre=array.views)
    splits = {name: replace(split, spatial_logits=rows[name]) for name, split in features.splits.items()}
    return replace(features, splits=splits)


def _check_alike(features: Features, array: Array, where: str) -> None:
    keys = _ALIKE + (_OF_TEXT if array.name == "spatial_logits" else ())
    for key in keys:
        if features.metadata.get(key) != array.metadata.get(key):
            raise UserError(
                f"{where}: made from other images or by another model than the features beside it: they differ in "
                f"{key}; {tensorfile.REMEDY}"
            )


def check(features: Features, array: Array, where: str) -> None:
    """Raise a `UserError` that begins with `where` unless shapes fit the features."""
    missing = [name for name in features.splits if name not in array.splits]
    if missing:
        raise UserError(f"{where}: no array {missing[0]}_{array.name}, and there is {missing[0]}_x")
    for name, split in features.splits.items():
        shape, rows = array.splits[name].shape, len(split.y)
        kind, wanted = _wanted(array.name, shape, len(features.classnames))
        if shape != (rows, *wanted) or 0 in shape:
            raise UserError(
                f"{where}: {name}_{array.name} has shape {shape}; {kind} N = {rows}, the rows of {name}_x, is wanted"
            )
    if array.name == "pre":
        _check_projection(features, array, where)


def _wanted(name: str, shape: tuple[int, ...], classes: int) -> tuple[str, tuple[int, ...]]:
    """What an array's shape should be, in words and, but for N, in numbers; where any is right, those that it has."""
    if name == "spatial_logits":
        return f"(N, 2, K) with K = {classes} and", (2, classes)
    if name == "pre":
        return "(N, D') with", shape[1:2] or (1,)
    return ("(N, H, W, 3) with", (*shape[1:3], 3)) if name == needs.PIXELS else ("(N, …) with", shape[1:] or (1,))


def _check_projection(features: Features, array: Array, where: str) -> None:
    """W maps every row to an embedding, and the views are as many as those of the features."""
    last, dim = array.projection, next(iter(features.splits.values())).x.shape[1]
    if last is None:
        raise UserError(f"{where}: no array {_WEIGHT}, the (D', D) that makes embeddings of pre")
    widths = {rows.shape[1] for rows in array.splits.values()}
    if len(widths) > 1 or last.weight.shape != (*widths, dim):
        wide = ", ".join(map(str, sorted(widths)))
        raise UserError(
            f"{where}: {_WEIGHT} has shape {last.weight.shape}; (D', D) with D' = {wide} and D = {dim} is wanted"
        )
    if last.bias.shape != (dim,):
        raise UserError(f"{where}: {_BIAS} has shape {last.bias.shape}; (D,) with D = {dim} is wanted")
    if features.train_views is not None:
        wanted = (*features.train_views.shape[:2], *widths)
        if array.views is None or array.views.shape != wanted:
            found = "are missing" if array.views is None else f"have shape {array.views.shape}"
            raise UserError(f"{where}: the views of train before the projection {found}; {wanted} is wanted")
