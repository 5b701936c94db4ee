"""Splits that are made: stratified, always the same, never one picture or one group on two sides."""

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.data.pictures import FAULTS, cloths
from workflow.lib.data import splitting
from workflow.lib.data.index import Index
from workflow.lib.data.splitting import Unit
from workflow.lib.errors import UserError

PLAN = {"test": 0.5, "val": 0.1, "seed": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cloths(tmp_path_factory.mktemp("cloth"), each=20)


def entries(root: Path) -> list[tuple[str, int]]:
    return [(p.relative_to(root).as_posix(), FAULTS.index(p.parent.name)) for p in sorted(root.glob("*/*.jpg"))]


def split(root: Path, own: list[tuple[str, int]], plan: dict[str, Any], groups: Sequence[str] = ()) -> dict[str, Any]:
    """The splits of these images."""
    index = Index(FAULTS, root, {"train": own})
    with tempfile.TemporaryDirectory() as folder:
        return dict(splitting.split(index, plan, groups, Path(folder), threads=1).splits)


def test_every_class_has_its_share_of_every_split(root: Path) -> None:
    made = split(root, entries(root), PLAN)
    assert {name: Counter(label for _, label in own) for name, own in made.items()} == {
        "train": Counter({0: 8, 1: 8, 2: 8}),
        "val": Counter({0: 2, 1: 2, 2: 2}),
        "test": Counter({0: 10, 1: 10, 2: 10}),
    }
    assert sorted(entry for own in made.values() for entry in own) == entries(root)


def test_the_split_hangs_on_the_names_and_the_seed_alone(root: Path) -> None:
    shuffled = random.Random(1).sample(entries(root), len(entries(root)))
    first, again = (split(root, own, PLAN) for own in (entries(root), shuffled))
    assert {name: sorted(own) for name, own in again.items()} == first
    assert [file for file, _ in first["val"]] == [
        "global/global_005.jpg",
        "global/global_014.jpg",
        "local/local_005.jpg",
        "local/local_014.jpg",
        "nominal/nominal_003.jpg",
        "nominal/nominal_014.jpg",
    ]
    assert split(root, entries(root), PLAN | {"seed": 1}) != first


def test_exact_duplicates_stay_on_one_side(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "own")
    for number in range(20):
        shutil.copy(tmp_path / f"own/local/local_{number:03d}.jpg", tmp_path / f"own/local/copy_{number:03d}.jpg")
    made = split(tmp_path / "own", entries(tmp_path / "own"), PLAN)
    for own in made.values():
        local = {file.split("/")[1] for file, label in own if label == 1}
        assert {name.replace("copy", "local") for name in local if "copy" in name} == {n for n in local if "local" in n}
    assert Counter(label for _, label in made["test"])[1] == 20


def test_groups_stay_on_one_side_and_classes_keep_their_shares(root: Path) -> None:
    own = entries(root)
    groups = splitting.grouped(r"_0(\d)", [file for file, _ in own])  # 00 to 09 and 10 to 19, of all classes at once
    assert set(groups) == {"0", "1"}
    made = split(root, own, {"test": 0.5}, groups)
    assert [len(made[name]) for name in ("train", "test")] == [30, 30]
    assert len({group for (file, _), group in zip(own, groups, strict=True) if (file, 0) in made["test"]}) == 1


def test_what_is_joined_through_others_is_one_unit() -> None:
    own = [(name, 0) for name in "abcd"]
    found = splitting.units(
        own, {"a": [("group", "1")], "b": [("group", "1"), ("content", "x")], "c": [("content", "x")]}
    )
    assert {unit.files for unit in found} == {("a", "b", "c"), ("d",)}


@pytest.mark.parametrize("images", range(2, 12))
@pytest.mark.parametrize("test", [0.1, 0.5, 0.9])
def test_small_classes_are_trained_on_and_reported(images: int, test: float) -> None:
    found = [Unit((f"{number}.jpg",), Counter([0])) for number in range(images)]
    counts = Counter(splitting.deal(found, {"train": 1 - test, "test": test}, seed=0).values())
    assert counts["train"] >= 1
    assert abs(counts["test"] - max(1, min(images - 1, test * images))) <= 1


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({}, "the key 'test' is missing"),
        ({"test": 0.5, "valid": 0.1}, "found the key 'valid', allowed: test, val, seed"),
        ({"test": 50}, "test: found 50, allowed: a number above 0 and below 1"),
        ({"test": True}, "test: found true, allowed"),
        ({"test": "half"}, "test: found 'half', allowed"),
        ({"test": 0.5, "val": 0}, "val: found 0, allowed"),
        ({"test": 0.8, "val": 0.2}, "test and val are 1 of the images together, which leaves none for train"),
        ({"test": 0.5, "seed": -1}, "seed: found -1, allowed: a whole number from 0 up"),
        ({"test": 0.5, "seed": 1.5}, "seed: found 1.5, allowed"),
    ],
)
def test_a_wrong_plan_is_named(plan: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        splitting.check_split(plan)
    assert str(error.value).startswith(message)


def test_a_class_that_is_too_small_is_named(root: Path) -> None:
    few = [entry for entry in entries(root) if entry[1] != 1 or entry[0].endswith("_000.jpg")]
    with pytest.raises(
        UserError, match="split: test gets no image of class 'local', whose 1 images stay together in 1"
    ):
        split(root, few, PLAN)
    one = ["all" if label == 1 else file for file, label in entries(root)]
    with pytest.raises(UserError, match="class 'local', whose 20 images stay together in 1 "):
        split(root, entries(root), PLAN, one)


def test_a_pattern_that_finds_nothing_is_named() -> None:
    with pytest.raises(UserError, match=r"groups: 'x' matches nothing in 2 files, the first is a.jpg"):
        splitting.grouped("x", ["a.jpg", "b.jpg"])
    with pytest.raises(UserError, match=r"'\(' is no regular expression: missing \)"):
        splitting.check_pattern("(")
