"""Features from elsewhere: an npz file that a group made with its own tools."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from workflow.lib.data.index import SPLITS
from workflow.lib.errors import UserError
from workflow.lib.features import archive
from workflow.lib.features.blocks import Array, Rows, check_finite
from workflow.lib.features.store import Features, assemble, kind

log = logging.getLogger(__name__)

NAMES = (
    *(f"{split}_{part}" for split in SPLITS for part in "xy"),
    "train_views",
    "classnames",
    "text_x",
    "text_each_x",
    "logit_scale",
)
DEFAULT_LOGIT_SCALE = 100.0  # exp(logit_scale) of most CLIP models, which clip it there in training
LEAST_SCALE, LARGEST_SCALE = 5.0, 1000.0  # between them lies that of every CLIP model that was published
_NAMED = 5  # rows of zeros, in the log


def read_npz(path: str | os.PathLike[str], logit_scale: float | None = None, allow_zeros: bool = False) -> Features:
    """Read features from an npz file, without pickles.

    It holds `train_x (N, D)`, `train_y (N,)`, the same for `val` and `test` where they exist, `classnames (K,)`, and
    optionally `text_x (K, D)`, `text_each_x (K, P, D)`, the P prompts of each class one by one, `logit_scale ()` and
    `train_views (N, V, D)`, V augmented views of each image. Without `text_x` the prompts are its text. Any
    floating-point and integer types; nothing need be normalised. `logit_scale` goes before what the file says, and is
    not doubted. A row of zeros is refused unless `allow_zeros`, which has them counted in the metadata as `zeros`.
    Raises `UserError` where it holds anything else under these names.
    """
    where = os.fspath(path)
    arrays = _load(where)
    names = _classnames(arrays, where)
    if "train_x" not in arrays:
        raise UserError(f"{where}: no array train_x; of the names known here it has {', '.join(sorted(arrays))}")
    tensors = {key: array for key, array in arrays.items() if key.startswith(SPLITS)}
    _check_first_label(tensors, len(names), where)
    if "text_x" in arrays:
        tensors["text"] = _one_template(arrays["text_x"], len(names), tensors["train_x"], where)
        _check_text(arrays, "text_x", where)
    if "text_each_x" in arrays:
        tensors["text_each"] = _each_template(arrays["text_each_x"], len(names), where)
        _check_text(arrays, "text_each_x", where)
        tensors.setdefault("text", tensors["text_each"])
    scale = arrays.get("logit_scale", np.array(DEFAULT_LOGIT_SCALE)) if logit_scale is None else np.array(logit_scale)
    tensors["logit_scale"] = scale.astype(np.float64) if scale.dtype.kind in "iu" else scale
    made = assemble(tensors, names, {}, where)
    if logit_scale is None:
        _check_scale(made.logit_scale, where)
    zeros = _zeros(made, allow_zeros, where)
    return replace(made, metadata={"zeros": zeros}) if zeros else made


def _load(where: str) -> dict[str, Array]:
    """All arrays of the file that can be read without unpickling."""
    if not Path(where).is_file():
        raise UserError(f"{where}: no such file of features")
    return archive.read(where, NAMES)


def _classnames(arrays: dict[str, Array], where: str) -> list[str]:
    if "classnames" not in arrays:
        raise UserError(f"{where}: no array classnames; it names the K classes in the order of the labels")
    names = arrays["classnames"]
    if names.ndim != 1 or names.dtype.kind != "U":
        remedy = "save np.array(classnames, dtype=str)"
        raise UserError(f"{where}: classnames is {kind(names)}; strings of shape (K,) are wanted: {remedy}")
    return [str(name) for name in names]


def _check_first_label(tensors: dict[str, Array], classes: int, where: str) -> None:
    """Labels that count from 1 would be one too many at the end: say so, and not that the last is out of range."""
    labels = [(key, y) for key, y in tensors.items() if key.endswith("_y") and y.dtype.kind in "iu" and y.size]
    if labels and min(y.min() for _, y in labels) == 1 and max(y.max() for _, y in labels) == classes:
        keys = ", ".join(f"{key} - 1" for key, _ in labels)
        raise UserError(f"{where}: labels go from 1 to {classes}, and are wanted from 0 to {classes - 1}: save {keys}")


def _each_template(text: Array, classes: int, where: str) -> Array:
    """`text_each_x (K, P, D)`: P prompts of each class."""
    if text.ndim != 3 or text.shape[0] != classes or 0 in text.shape:
        raise UserError(f"{where}: text_each_x is {kind(text)}; shape (K, P, D) with K = {classes} is wanted")
    return text


def _one_template(text: Array, classes: int, x: Array, where: str) -> Array:
    """`text_x (K, D)` as `(K, 1, D)`: text from elsewhere counts as one template."""
    wanted = f"shape (K, D) with K = {classes} is wanted"
    if text.ndim == 3 and text.shape[0] == classes:
        raise UserError(
            f"{where}: text_x is {kind(text)}; {wanted}: save the mean over templates, "
            "(t / np.linalg.norm(t, axis=-1, keepdims=True)).mean(1) of these t, or t itself as text_each_x"
        )
    if text.ndim != 2:
        raise UserError(f"{where}: text_x is {kind(text)}; {wanted}")
    if text.shape[0] != classes and text.shape == (*x.shape[1:2], classes):
        raise UserError(f"{where}: text_x is {kind(text)}, which is (D, K); {wanted}: save text_x.T")
    return text[:, None, :]


def _check_text(arrays: dict[str, Array], key: str, where: str) -> None:
    """Finite numbers in as many dimensions as images have, by the names that the file has for them."""
    text, x = arrays[key], arrays["train_x"]
    if text.dtype.kind != "f":
        raise UserError(f"{where}: {key} is {kind(text)}; floating-point numbers are wanted")
    with np.errstate(over="ignore"):
        check_finite(text.astype(np.float32, copy=False), key, 0, where)
    if x.ndim == 2 and text.shape[-1] != x.shape[1]:
        raise UserError(
            f"{where}: the number of dimensions D differs: train_x has {x.shape[1]}, {key} {text.shape[-1]}"
        )


def _check_scale(scale: float, where: str) -> None:
    """Raise `UserError` for a scale that no CLIP model has, with what was probably meant."""
    if LEAST_SCALE <= scale <= LARGEST_SCALE:
        return
    meant = ""
    if 2 < scale < LEAST_SCALE:
        meant = f": if this is its logarithm, as models store it, save np.exp of it, {math.exp(scale):.4g}"
    elif 1 / LARGEST_SCALE <= scale <= 1 / LEAST_SCALE:
        meant = f": if this is a temperature, save one over it, {1 / scale:.4g}"
    raise UserError(
        f"{where}: logit_scale is {scale:.6g}, and exp(logit_scale) of a CLIP model, {LEAST_SCALE:g} to "
        f"{LARGEST_SCALE:g}, is wanted{meant}; `logit_scale: NUMBER` in the backbone's entry takes any number as it is"
    )


def _zeros(features: Features, allowed: bool, where: str) -> dict[str, list[int]]:
    """The rows of zeros by array. Raises `UserError` for the first unless `allowed`; in text they never are."""
    arrays: dict[str, Rows] = {f"{name}_x": split.x for name, split in features.splits.items()}
    arrays |= {} if features.train_views is None else {"train_views": features.train_views}
    texts = {} if features.text_each is None else {"text_each_x": features.text_each}
    texts |= {} if features.text is None or features.text is features.text_each else {"text_x": features.text}
    found: dict[str, list[int]] = {}
    for key, array in (arrays | texts).items():
        rows = np.flatnonzero((~np.asarray(array).any(axis=-1)).reshape(len(array), -1).any(axis=1))
        if not rows.size:
            continue
        if key in texts or not allowed:
            more = f" ({rows.size} rows in all)" if rows.size > 1 else ""
            remedy = "" if key in texts else "; `allow_zeros: true` in the backbone's entry lets them in"
            raise UserError(f"{where}: {key} has only zeros in row {rows[0]}{more}: no direction to compare{remedy}")
        found[key] = rows.tolist()
        log.warning("%s: %s: %d rows of zeros, the first in %s", where, key, rows.size, rows[:_NAMED].tolist())
    return found
