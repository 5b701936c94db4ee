"""What several tests share: small features whose classes are easy to tell apart, but not without a mistake."""

import os
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from workflow.lib.features.store import Features, Split

# The same examples every time, so that nothing fails by chance; FUZZ_EXAMPLES=5000 looks for what no test has met yet.
settings.register_profile(
    "tests",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "50")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, and before all what mostly waits: with two workers one of them would be left with it."""
    order = ["slurm/test_profile", "faults/test_kill", "test_workflow", "test_shards", "test_gpus"]
    items.sort(key=lambda item: next((i for i, name in enumerate(order) if name in item.nodeid), len(order)))


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


@pytest.fixture
def features() -> Features:
    """Four classes with text."""
    return make_features()


@pytest.fixture
def features_of() -> Callable[..., Features]:
    """Makes features of other sizes, or without text."""
    return make_features
