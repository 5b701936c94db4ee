"""Folds of images without a split: stratified, always the same, copies and groups together."""

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.data.pictures import FAULTS, cloths
from workflow.lib.data import datasets, folding
from workflow.lib.data.index import Index, read_index, write_index
from workflow.lib.errors import UserError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return cloths(tmp_path / "cloth", each=12)


def prepare(home: Path, **options: Any) -> Index:
    """The index, as written and read again."""
    spec = {"source": "folder", "path": str(home), **options}
    write_index(home.parent / "index.json", datasets.prepare(spec, home.parent / "own", threads=1))
    return read_index(home.parent / "index.json")


def by_file(index: Index) -> dict[str, int]:
    return {file: fold for (file, _), fold in zip(index.splits["train"], index.folds, strict=True)}


def test_every_fold_has_its_share_of_every_class_and_they_are_of_one_size(home: Path) -> None:
    index = prepare(home, cross_validate=5)
    assert list(index.splits) == ["train"]
    labels = [label for _, label in index.splits["train"]]
    each = Counter(zip(index.folds, labels, strict=True))
    assert len(labels) == 36
    assert {each[fold, label] for fold in range(5) for label in range(3)} == {2, 3}
    assert sorted(Counter(index.folds).values()) == [7, 7, 7, 7, 8]


def test_folds_hang_on_the_names_alone(home: Path) -> None:
    entries = [(p.relative_to(home).as_posix(), FAULTS.index(p.parent.name)) for p in sorted(home.glob("*/*.jpg"))]
    options = {"split": None, "cross_validate": 4}
    first, again = (
        by_file(folding.look(Index(FAULTS, home, {"train": own}), options, ()))
        for own in (entries, random.Random(1).sample(entries, len(entries)))
    )
    assert first == again == by_file(prepare(home, cross_validate=4))


def test_copies_and_groups_are_in_one_fold(home: Path) -> None:
    shutil.copy(home / "local" / "local_003.jpg", home / "local" / "again.jpg")
    shutil.copy(home / "local" / "local_003.jpg", home / "nominal" / "a.jpg")
    found = by_file(prepare(home, cross_validate=3, groups=r"(?:\d|a|again)(?=\.jpg)"))
    joined = ("local/local_003.jpg", "local/again.jpg", "nominal/a.jpg", "global/global_003.jpg")
    assert len({found[file] for file in joined}) == 1


def test_other_folds_are_another_index(home: Path) -> None:
    found = [prepare(home, cross_validate=count).fingerprint() for count in (4, 5, 5)]
    assert found[0] != found[1] == found[2]


def test_a_list_has_folds_too_and_none_beside_splits(tmp_path: Path) -> None:
    cloths(tmp_path / "cloth", each=6)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("cloth/*/*.jpg"))
    rows = [f"{name},{name.split('/')[1]},{place % 3}" for place, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["image,label,group", *rows]) + "\n")
    spec = {"source": "table", "path": str(tmp_path / "list.csv"), "cross_validate": 3}
    index = datasets.look(spec)
    assert index is not None
    groups = {(place % 3, fold) for place, fold in enumerate(by_file(index)[file[6:]] for file in names)}
    assert len(groups) == 3
    (tmp_path / "list.csv").write_text("\n".join(["image,label,split", *(f"{r[:-1]}test" for r in rows)]) + "\n")
    with pytest.raises(
        UserError, match=r"cross_validate: the list has splits of its own \(test\); leave cross_validat"
    ):
        datasets.look(spec)


@pytest.mark.parametrize("folds", ["five", [0, -1], [0, True]])
def test_an_index_with_odd_folds_is_refused(home: Path, folds: Any) -> None:
    prepare(home, cross_validate=5)
    path = home.parent / "index.json"
    text = path.read_text().split("\n", 2)
    path.write_text(
        text[0]
        + "\n"
        + text[2]
        .replace('"folds"', '"old"')
        .replace('"left_out"', f'"folds": {folds!r}, "left_out"')
        .replace("True", "true")
        .replace("'", '"')
    )
    with pytest.raises(UserError, match="not an index of images"):
        read_index(path)
