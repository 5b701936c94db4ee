"""Predictions: hits as they were written, or one line that names the file."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import TRAPS, damaged, outcome
from workflow.lib.reporting import saved

LABELS = np.array([0, 1, 2, 1, 0])
PREDICTED = np.array([[[0, 1, 2, 0, 0], [0, 1, 1, 1, 1]], [[2, 2, 2, 2, 2], [0, 0, 0, 0, 0]]], np.int32)
ARRAYS = {
    "labels": LABELS,
    "predicted": PREDICTED,
    "probability": np.full(PREDICTED.shape, 0.5, np.float32),
    "variants": np.array(["a", "b"]),
    "seeds": np.arange(2),
    "classnames": np.array(["x", "y", "z"]),
    "splits": np.array(["train", "test"]),
    "images": np.array([[1, 1, 1], [2, 2, 1]]),
}
HITS = {"a": PREDICTED[0] == LABELS, "b": PREDICTED[1] == LABELS}


def npz(**changes: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **(ARRAYS | changes))
    return file.getvalue()


def hits_of(path: Path) -> dict[str, Any]:
    found = saved.read(path)
    return {name: found.hits(name) for name in found.predicted}


def check(path: Path, content: bytes) -> dict[str, Any] | None:
    path.write_bytes(content)
    found = outcome(lambda: hits_of(path), path)
    for hits in (found or {}).values():
        assert hits.dtype == bool
        assert hits.ndim == 2
    return found


def same(found: dict[str, Any]) -> bool:
    return list(found) == list(HITS) and all(np.array_equal(found[name], HITS[name]) for name in HITS)


def test_the_right_one_is_read(tmp_path: Path) -> None:
    found = check(tmp_path / "1.npz", npz())
    assert found is not None
    assert same(found)


@given(content=damaged(npz()))
def test_damaged_bytes(tmp_path: Path, content: bytes) -> None:
    found = check(tmp_path / "1.npz", content)
    assert found is None or same(found)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_npz(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "1.npz", content) is None


ODD = [
    np.zeros(()),
    np.zeros(0, np.int64),
    np.zeros((1, 2, 5)),
    np.zeros((2, 2, 1), np.int32),
    np.zeros((2, 5), np.int32),
    np.zeros((3, 2, 5), np.int32),
    LABELS[:4],
    LABELS.astype(float),
    LABELS[None],
    np.array(["a"]),
    np.array([b"a", b"b"]),
    np.array(["a", "a"]),
    np.array(["\n", "</script>"]),
    np.array([1, 2]),
]


@given(
    name=st.sampled_from(["labels", "predicted", "variants", "classnames", "splits", "images"]),
    value=st.sampled_from(ODD),
)
def test_arrays_that_do_not_fit_each_other(tmp_path: Path, name: str, value: Any) -> None:
    """NumPy would stretch what does not fit, and call it right."""
    found = check(tmp_path / "1.npz", npz(**{name: value}))
    assert found is None or all(hits.shape == (2, len(LABELS)) for hits in found.values())


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return open, (str(tmp_path / "sprung"), "w")

    for name in ("labels", "predicted", "variants", "classnames", "splits", "images"):
        assert check(tmp_path / "1.npz", npz(**{name: np.array([Trap(), Trap()], dtype=object)})) is None
    assert check(tmp_path / "1.npz", pickle.dumps(Trap())) is None
    assert not (tmp_path / "sprung").exists()
