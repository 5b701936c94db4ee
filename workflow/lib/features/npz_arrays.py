"""Arrays beside features from elsewhere: `train_pre`, `train_spatial_logits` and the like in the same npz file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from methods.contract.base import Projection, unit
from workflow.lib.data.index import SPLITS
from workflow.lib.errors import UserError
from workflow.lib.features import archive, arrays
from workflow.lib.features.blocks import Rows, check_finite
from workflow.lib.features.store import Features, kind

_VIEWS = "train_views_pre"
_FIRST = 100  # rows that are held against the features
_SAME = 0.99  # cosine above which two embeddings of an image are the same but for rounding

ABSENT = {
    "pre": "put train_pre (N, D'), the same for the other splits, and projection (D', D) into their npz file",
    "spatial_logits": "put train_spatial_logits (N, 2, K) and the same for the other splits into their npz file",
}


def read(path: str | os.PathLike[str], name: str, features: Features) -> arrays.Array:
    """The array `name` that the file has beside its `features`, or one that is absent, with what to do about it.

    `pre` is `train_pre (N, D')` and the same for the other splits, `projection (D', D)`, `projection_bias (D,)` where
    there is one, and `train_views_pre (N, V, D')` beside `train_views`. Raises `UserError` for anything else under
    these names, and where `pre` and `projection` don't make the features.
    """
    where = os.fspath(path)
    keys = {split: f"{split}_{name}" for split in SPLITS}
    beside = (_VIEWS, "projection", "projection_bias") if name == "pre" else ()
    found = {key: _floats(array, key, where) for key, array in archive.read(where, [*keys.values(), *beside]).items()}
    splits = {split: found[key] for split, key in keys.items() if key in found}
    if not splits:
        return arrays.Array(name, absent=ABSENT[name])
    if _VIEWS in found and features.train_views is None:
        raise UserError(f"{where}: no array train_views, and there is {_VIEWS}")
    made = arrays.Array(name, splits, views=found.get(_VIEWS), projection=_projection(found))
    arrays.check(features, made, where)
    if made.projection is not None:
        for split, rows in features.splits.items():
            _check_makes(f"{split}_pre", made.splits[split], f"{split}_x", rows.x, made.projection, where)
        if made.views is not None and features.train_views is not None:
            _check_makes(_VIEWS, made.views, "train_views", features.train_views, made.projection, where)
    return made


def _projection(found: dict[str, Any]) -> Projection | None:
    """W₀ and b₀, which is zero where the file has none."""
    weight = found.get("projection")
    if weight is None:
        return None
    return Projection(weight, found.get("projection_bias", np.zeros(weight.shape[-1:], np.float32)))


def _check_makes(key: str, pre: Rows, name: str, x: Rows, last: Projection, where: str) -> None:
    """Before its projection an image is what the projection makes the image of: a W that is turned would not show."""
    embedded, again = np.asarray(x[:_FIRST]), np.asarray(pre[:_FIRST]) @ last.weight + last.bias
    alike = (unit(embedded) * unit(again)).sum(-1)
    other = ((alike < _SAME) & embedded.any(-1)).reshape(len(alike), -1)
    if (rows := np.flatnonzero(other.any(1))).size:
        raise UserError(
            f"{where}: {key} @ projection + projection_bias is not {name}: their cosine is "
            f"{alike[rows[0]].min():.2f} in row {rows[0]}, and 1 is wanted"
        )


def _floats(array: Any, key: str, where: str) -> Any:
    if array.dtype.kind != "f":
        raise UserError(f"{where}: {key} is {kind(array)}; floating-point numbers are wanted")
    with np.errstate(over="ignore"):
        made = array.astype(np.float32, copy=False)
    check_finite(made, key, 0, where)
    return made
