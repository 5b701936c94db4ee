"""Features from elsewhere: an npz file that a group made with its own tools."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from workflow.lib.features import archive
from workflow.lib.features.blocks import Array
from workflow.lib.errors import UserError
from workflow.lib.features.store import Features, assemble, kind
from workflow.lib.data.index import SPLITS

NAMES = (
    *(f"{split}_{part}" for split in SPLITS for part in "xy"),
    "train_views",
    "classnames",
    "text_x",
    "logit_scale",
)
DEFAULT_LOGIT_SCALE = 100.0  # exp(logit_scale) of most CLIP models, which clip it there in training


def read_npz(path: str | os.PathLike[str]) -> Features:
    """Read features from an npz file, without pickles.

    It holds `train_x (N, D)`, `train_y (N,)`, the same for `val` and `test` where they exist, `classnames (K,)`, and
    optionally `text_x (K, D)`, `logit_scale ()` and `train_views (N, V, D)`, V augmented views of each image. Any
    floating-point and integer types; nothing need be normalised.
    Raises `UserError` where it holds anything else under these names.
    """
    where = os.fspath(path)
    arrays = _load(where)
    names = _classnames(arrays, where)
    if "train_x" not in arrays:
        raise UserError(f"{where}: no array train_x; of the names known here it has {', '.join(sorted(arrays))}")
    tensors = {key: array for key, array in arrays.items() if key.startswith(SPLITS)}
    if "text_x" in arrays:
        tensors["text"] = _one_template(arrays["text_x"], where)
    scale = arrays.get("logit_scale", np.array(DEFAULT_LOGIT_SCALE))
    tensors["logit_scale"] = scale.astype(np.float32) if scale.dtype.kind in "iu" else scale
    return assemble(tensors, names, {}, where)


def _load(where: str) -> dict[str, Array]:
    """All arrays of the file that can be had without unpickling."""
    if not Path(where).is_file():
        raise UserError(f"{where}: no such file of features")
    return archive.read(where, NAMES)


def _classnames(arrays: dict[str, Array], where: str) -> list[str]:
    if "classnames" not in arrays:
        raise UserError(f"{where}: no array classnames; it names the K classes in the order of the labels")
    names = arrays["classnames"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(f"{where}: classnames is {kind(names)}; strings of shape (K,) are wanted")
    return [str(name) for name in names]


def _one_template(text: Array, where: str) -> Array:
    """`text_x (K, D)` as `(K, 1, D)`: text from elsewhere counts as one template."""
    if text.ndim != 2:
        raise UserError(f"{where}: text_x is {kind(text)}; shape (K, D) is wanted")
    return text[:, None, :]
