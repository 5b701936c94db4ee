"""`source: folder` without a split: pictures in the likeness of those that people have, dealt out."""

import logging
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.data.pictures import FAULTS, cloths
from workflow.lib.data import datasets
from workflow.lib.data.index import Index, read_index, write_index
from workflow.lib.errors import UserError

PLAN = {"test": 0.5, "val": 0.1, "seed": 0}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return cloths(tmp_path / "cloth")


def prepare(home: Path, **options: Any) -> Index:
    """The index, as written and read again."""
    spec = {"source": "folder", "path": str(home), **options}
    write_index(home.parent / "index.json", datasets.prepare(spec, home.parent / "own", threads=1))
    return read_index(home.parent / "index.json")


def sizes(index: Index) -> dict[str, list[int]]:
    """Images of each class in each split."""
    counts = {split: Counter(label for _, label in own) for split, own in index.splits.items()}
    return {split: [own[label] for label in range(len(index.classnames))] for split, own in counts.items()}


def test_class_folders_are_dealt_out(home: Path) -> None:
    index = prepare(home, split=PLAN)
    assert index.classnames == FAULTS
    assert sizes(index) == {"train": [6, 6, 6], "val": [1, 1, 1], "test": [7, 7, 7]}
    assert all((index.root / file).is_file() for own in index.splits.values() for file, _ in own)
    assert prepare(home, split=PLAN).splits == index.splits


@pytest.mark.parametrize("name", ["train", "Training"])
def test_so_is_a_folder_for_train_alone(home: Path, name: str) -> None:
    (home.parent / "whole").mkdir()
    home.rename(home.parent / "whole" / name)
    index = prepare(home.parent / "whole", split=PLAN)
    assert sizes(index) == {"train": [6, 6, 6], "val": [1, 1, 1], "test": [7, 7, 7]}


def test_nested_classes_and_a_split_go_together(home: Path) -> None:
    (home / "woven").mkdir()
    for fault in ("global", "local"):
        (home / fault).rename(home / "woven" / fault)
    assert sizes(prepare(home, split={"test": 0.5}, classes="top")) == {"train": [7, 14], "test": [7, 14]}
    assert prepare(home, split={"test": 0.5}, classes="leaf").classnames == ("nominal", "global", "local")


def test_copies_and_groups_stay_on_one_side(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(home / "local" / "local_003.jpg", home / "local" / "again.jpg")
    shutil.copy(home / "local" / "local_003.jpg", home / "nominal" / "a.jpg")
    with caplog.at_level(logging.INFO):
        index = prepare(home, split={"test": 0.5}, groups=r"(?:\d|a|again)(?=\.jpg)")
    assert "2 images are exact duplicates of others" in caplog.text
    assert "1 pictures stand in more than one class" in caplog.text
    side = {file: split for split, own in index.splits.items() for file, _ in own}
    joined = ("local/local_003.jpg", "local/again.jpg", "nominal/a.jpg", "global/global_013.jpg")
    assert len({side[file] for file in joined}) == 1


def test_the_study_sees_the_same_faults_without_reading_an_image(home: Path) -> None:
    for path in home.glob("*/*"):
        path.write_bytes(b"")  # it is not looked into
    found = datasets.look({"source": "folder", "path": str(home), "split": PLAN})
    assert found is not None
    assert list(found.splits) == ["train", "val", "test"]
    for path in list((home / "local").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match="split: test gets no image of class 'local', whose 1 images"):
        datasets.look({"source": "folder", "path": str(home), "split": PLAN})


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (
            "",
            {},
            "path: no folder .*; there are the folders global, local, nominal: if these are the classes, add",
        ),
        ("test", {"split": PLAN}, "split: .*/cloth has test/, a split of its own; leave `split` away or name another"),
        ("Valid", {"split": PLAN}, "split: .*/cloth has Valid/, a split of its own"),
        ("", {"split": {"test": 1.5}}, "split: test: found 1.5, allowed: a number above 0 and below 1"),
        ("", {"split": 0.5}, r"split: found 0.5, allowed: mapping: shares of images that have no split: \{test: 0.5, "),
        ("", {"split": PLAN, "groups": "("}, r"groups: '\(' is no regular expression"),
        (
            "",
            {"split": PLAN, "groups": "patient"},
            "groups: 'patient' matches nothing in 42 files, the first is",
        ),
        (
            "train",
            {"groups": "_"},
            "groups: goes with `split` or `cross_validate`, which deal the images out; here",
        ),
        ("test", {"cross_validate": 5}, "cross_validate: .*/cloth has test/, a split of its own; leave `cross_validat"),
        ("", {"cross_validate": 5, "split": PLAN}, "cross_validate: `split` is given too; keep one of the two"),
        (
            "",
            {"cross_validate": 15},
            "cross_validate: found 15 folds, and class 'global' has 14 images; allowed: at most that many folds",
        ),
        (
            "",
            {"cross_validate": 12, "groups": r"\d(?=\.jpg)"},
            "cross_validate: 42 images are 10 with what stays together .*, too few for 12 folds; allowed: at most 10",
        ),
        (
            "",
            {"cross_validate": 2, "groups": "^[a-z]+"},
            "cross_validate: all images of class 'global' are in one fold, as they stay together",
        ),
        ("empty", {"split": PLAN}, "path: .*/empty: no image in it, so train has no image of class 'empty'"),
    ],
)
def test_what_is_wrong_is_one_line(home: Path, made: str, options: dict[str, Any], message: str) -> None:
    if made:
        (home / made).mkdir()
    with pytest.raises(UserError, match=message):
        prepare(home, **options)
