"""How images become numbers, said by hand and said in words. Light to import: the Snakefile does it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from workflow.lib.errors import UserError

LARGEST_SIDE = 4096  # pixels: a model for ten times the common size takes a hundred times the memory
INTERPOLATIONS = ("bicubic", "bilinear")
RESIZE_MODES = ("shortest", "longest", "squash")


def check(by_hand: Mapping[str, Any]) -> None:
    """Check what a backbone's `preprocess` says. Raises `UserError`: the key, and what is allowed."""
    for key, value in by_hand.items():
        if key not in KEYS:
            raise UserError(f"preprocess: {key} is not one of its keys: {', '.join(KEYS)}")
        sound, allowed = KEYS[key]
        if not sound(value):
            raise UserError(f"preprocess: {key}: {value!r} is not {allowed}")


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _three(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_number, value))


def _side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIDE


KEYS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "mean": (_three, "a list of three numbers, of red, green and blue from 0 to 1"),
    "std": (lambda value: _three(value) and min(value) > 0, "a list of three numbers above 0"),
    "interpolation": (lambda value: value in INTERPOLATIONS, " or ".join(INTERPOLATIONS)),
    "resize_mode": (lambda value: value in RESIZE_MODES, " or ".join(RESIZE_MODES)),
    "size": (
        lambda value: _side(value) or (isinstance(value, list) and len(value) == 2 and all(map(_side, value))),
        f"pixels, or a list of height and width, from 1 to {LARGEST_SIDE}",
    ),
}
_FITTED = {
    "shortest": "the shortest side to size, the middle cut out",
    "longest": "the longest side to size, the rest filled up",
    "squash": "both sides to size",
}


def words(config: Mapping[str, Any]) -> str:
    """`224 x 224, bicubic, shortest (…), mean 0.48 0.46 0.41, std …` of a preprocessing in open_clip's form."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mean, std = (" ".join(f"{value:.4g}" for value in config[key]) for key in ("mean", "std"))
    mode = config["resize_mode"]
    return f"{height} x {width}, {config['interpolation']}, {mode} ({_FITTED[mode]}), mean {mean}, std {std}"
