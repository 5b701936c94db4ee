"""Files of supports, ours and published ones: rows of the right classes and none twice, or one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from tests.fuzz.corpus import TRAPS, damaged, json_text, mutated, outcome
from tests.samples import make_features
from workflow.lib.evaluation import support_files, supports
from workflow.lib.features.store import Features

BARE = make_features()
NAMED = Features(
    BARE.splits,
    BARE.classnames,
    BARE.text,
    BARE.logit_scale,
    {"files": {"train": [f"train/{row}.png" for row in range(len(BARE.splits["train"].y))]}},
)
SHOTS = 2


def ours(features: Features) -> Any:
    """The content of a file of ours."""
    images = support_files._images(features)
    rows = supports.draw(features.splits["train"].y, features.classnames, "3", 0)
    labels = features.splits["train"].y
    own = {name: [images[r] for r in rows if labels[r] == k] for k, name in enumerate(features.classnames)}
    return {"dataset": "d", "seeds": {"0": own, "1": own}}


def published(features: Features) -> Any:
    """The content of a published one, as CoOp's split_zhou files are."""
    images, labels = support_files._images(features), features.splits["train"].y
    train = [[images[row], int(labels[row]), features.classnames[labels[row]]] for row in range(20)]
    return {"train": train, "val": [], "test": []}


def check(path: Path, content: bytes, features: Features) -> Any:
    """Read the supports: of every class the number asked for, rows of it, no row twice."""
    path.write_bytes(content)
    found = outcome(lambda: support_files.read(str(path), features, str(SHOTS), 0), path)
    if found is not None:
        labels = features.splits["train"].y
        assert labels[found].tolist() == np.repeat(np.arange(len(features.classnames)), SHOTS).tolist()
        assert len(set(found.tolist())) == len(found)
    return found


CASES = [(ours(BARE), BARE), (ours(NAMED), NAMED), (published(BARE), BARE), (published(NAMED), NAMED)]


@pytest.mark.parametrize(("right", "features"), CASES)
def test_the_right_ones_are_read(tmp_path: Path, right: Any, features: Features) -> None:
    assert check(tmp_path / "s.json", json_text(right), features) is not None


@given(value=mutated(ours(BARE)), other=mutated(ours(NAMED)))
def test_ours_with_another_shape(tmp_path: Path, value: Any, other: Any) -> None:
    check(tmp_path / "s.json", json_text(value), BARE)
    check(tmp_path / "s.json", json_text(other), NAMED)


@given(value=mutated(published(BARE)), other=mutated(published(NAMED)))
def test_published_ones_with_another_shape(tmp_path: Path, value: Any, other: Any) -> None:
    check(tmp_path / "s.json", json_text(value), BARE)
    check(tmp_path / "s.json", json_text(other), NAMED)


@given(content=damaged(json.dumps(published(NAMED)).encode()))
def test_damaged_bytes(tmp_path: Path, content: bytes) -> None:
    check(tmp_path / "s.json", content, NAMED)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_file_of_supports(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "s.json", content, BARE) is None


@pytest.mark.parametrize(
    "item",
    [[0, -4, "class 0"], [0, 0.9, "x"], [0, True, "x"], [0, "0", "x"], [0, 10**400, "x"], [0], [], 7, None, "00", {}],
)
@pytest.mark.parametrize("features", [BARE, NAMED])
def test_a_label_that_is_none_is_not_bent_into_one(tmp_path: Path, item: Any, features: Features) -> None:
    content = published(features)
    content["train"].insert(0, item)
    assert check(tmp_path / "s.json", json_text(content), features) is None


@pytest.mark.parametrize(
    "images", [[0, 0], [False, 4], [0.0, 4.0], "04", {"0": 1, "4": 2}, 8, None, [[0], [4]], [-12, -8]]
)
def test_images_that_are_no_rows_are_not_bent_into_some(tmp_path: Path, images: Any) -> None:
    content = ours(BARE)
    content["seeds"]["0"]["class 0"] = images
    assert check(tmp_path / "s.json", json_text(content), BARE) is None


@pytest.mark.parametrize("pattern", ["no/such.json", "nul\0.json", "a" * 5000 + ".json", "."])
def test_a_path_that_leads_nowhere(tmp_path: Path, pattern: str) -> None:
    shown = pattern[:10].split("\0")[0]
    assert outcome(lambda: support_files.read(f"{tmp_path}/{pattern}", BARE, "2", 0), shown) is None
