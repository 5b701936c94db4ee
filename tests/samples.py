"""Features whose classes are easy to tell apart, but not without a mistake; and JSON without some keys."""

from collections.abc import Collection
from typing import Any

import numpy as np

from workflow.lib.features.store import Features, Split


def without(value: Any, keys: Collection[str]) -> Any:
    """JSON without some keys, wherever they stand: what is left is to be equal."""
    if isinstance(value, dict):
        return {key: without(inner, keys) for key, inner in value.items() if key not in keys}
    return [without(inner, keys) for inner in value] if isinstance(value, list) else value


SIZES = {"train": 12, "val": 6, "test": 9}  # images per class


def make_features(classes: int = 4, dim: int = 8, text: bool = True, seed: int = 0, noise: float = 0.8) -> Features:
    """Classes around random centres, the text of a class near its centre; neither has unit length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))

    def around(labels: np.ndarray) -> np.ndarray:
        return (3 * (centres[labels] + noise * rng.normal(size=(len(labels), dim)))).astype(np.float32)

    splits = {}
    for name, size in SIZES.items():
        labels = np.tile(np.arange(classes), size)
        splits[name] = Split(around(labels), labels.astype(np.int64))
    words = np.stack([around(np.arange(classes)) for _ in range(2)], axis=1) if text else None
    return Features(splits, tuple(f"class {k}" for k in range(classes)), words, 50.0, {"seed": seed})
