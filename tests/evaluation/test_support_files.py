"""Supports written out and read in: ours, and published lists; what is wrong with one is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.samples import make_features
from workflow.lib.errors import UserError
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import support_files, supports
from workflow.lib.features.store import Features

FEATURES = make_features()
LABELS, NAMES = FEATURES.splits["train"].y, FEATURES.classnames
FILES = [f"images/{row:03}.png" for row in range(len(LABELS))]
WITH_FILES = Features(FEATURES.splits, NAMES, FEATURES.text, 100.0, files={"train": FILES})


@pytest.mark.parametrize("features", [FEATURES, WITH_FILES], ids=["rows", "files"])
def test_what_is_written_is_what_is_drawn(features: Features, tmp_path: Path) -> None:
    path = tmp_path / "supports.json"
    support_files.write(path, "made", features, ["1", "3", "all"], 2)
    for seed in (0, 1):
        for shots in ("1", "3", "all"):
            read = support_files.read(str(path), features, shots, seed)
            np.testing.assert_array_equal(np.sort(read), np.sort(supports.draw(LABELS, NAMES, shots, seed)))


def test_files_are_named_as_in_the_index(tmp_path: Path) -> None:
    support_files.write(tmp_path / "s.json", "made", WITH_FILES, ["2"], 1)
    drawn = json.loads((tmp_path / "s.json").read_text())["seeds"]["0"]
    assert list(drawn) == list(NAMES)
    assert all(len(images) == 2 and set(images) <= set(FILES) for images in drawn.values())


def published(folder: Path, shots: int, seed: int, rows: list[int]) -> None:
    triples = [[FILES[row], int(LABELS[row]), NAMES[LABELS[row]]] for row in rows]
    (folder / f"shot_{shots}-seed_{seed}.json").write_text(json.dumps({"train": triples, "val": []}))


def test_published_lists_are_read_one_file_for_shots_and_seed(tmp_path: Path) -> None:
    last = [int(np.flatnonzero(k == LABELS)[-1]) for k in range(len(NAMES))]
    published(tmp_path, 1, 0, last)
    pattern = str(tmp_path / "shot_{shots}-seed_{seed}.json")
    np.testing.assert_array_equal(support_files.read(pattern, WITH_FILES, "1", 0), last)
    with pytest.raises(UserError, match=r"shot_1-seed_1\.json: no supports can be read from it"):
        support_files.read(pattern, WITH_FILES, "1", 1)


def test_one_published_split_serves_all_seeds_with_the_first_of_each_class(tmp_path: Path) -> None:
    """The form of the split_zhou_*.json files: train, val and test, each a list of image, label and class name."""
    triples = [[FILES[row], int(LABELS[row]), NAMES[LABELS[row]]] for row in range(len(LABELS))]
    path = tmp_path / "split_zhou_Made.json"
    path.write_text(json.dumps({"train": triples, "val": [], "test": []}))
    first = [int(row) for k in range(len(NAMES)) for row in np.flatnonzero(k == LABELS)[:2]]
    for seed in (0, 1):
        np.testing.assert_array_equal(support_files.read(str(path), WITH_FILES, "2", seed), first)


def test_a_cell_trains_on_what_was_read(tmp_path: Path) -> None:
    last = [int(np.flatnonzero(k == LABELS)[-1]) for k in range(len(NAMES))]
    published(tmp_path, 1, 0, last)
    pattern = str(tmp_path / "shot_{shots}-seed_{seed}.json")
    variants: list[dict[str, Any]] = [{"variant": "-", "params": {}}]
    at = cells.Cell("s", "d", "b", "m", "m", "1", 1, "test", "last", variants, supports=pattern)
    bench = cells.Bench(at, WITH_FILES, "cpu", 1, lambda line: None)
    np.testing.assert_array_equal(bench.rows[0], last)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no supports can be read from it"),
        ("[]", "not a file of supports; allowed: a mapping with `seeds` or `train`"),
        ('{"seeds": {"1": {}}}', "no supports of seed 0; it has 1"),
        ('{"seeds": {"0": {}}}', f"class '{NAMES[0]}' has 0 images, 1 are asked for"),
        (
            json.dumps({"seeds": {"0": {NAMES[0]: ["x.png"]}}}),
            f"class '{NAMES[0]}': 'x.png' is no image of it in train",
        ),
        (json.dumps({"seeds": {"0": {NAMES[0]: [["x"]]}}}), f"class '{NAMES[0]}': ['x'] is no image of it in train"),
        ('{"train": [["x.png"]]}', "train: found ['x.png'], allowed: [image, label, class name]"),
        ('{"train": [["x.png", 99, "x"]]}', "train: found ['x.png', 99, 'x'], allowed: [image, label, class name]"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "supports.json"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        support_files.read(str(path), WITH_FILES, "1", 0)
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


def test_an_image_of_another_class_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "supports.json"
    other = FILES[int(np.flatnonzero(LABELS == 1)[0])]
    path.write_text(json.dumps({"seeds": {"0": {NAMES[0]: [other]}}}))
    with pytest.raises(UserError, match=f"class '{NAMES[0]}': '{other}' is no image of it in train"):
        support_files.read(str(path), WITH_FILES, "1", 0)


def test_fewer_images_are_noted_where_they_are_allowed() -> None:
    most = int(np.bincount(LABELS).max())
    variants: list[dict[str, Any]] = [{"variant": "-", "params": {}}]
    at = cells.Cell("s", "d", "b", "m", "m", str(most + 1), 1, "test", "last", variants, allow_fewer=True)
    bench = cells.Bench(at, FEATURES, "cpu", 1, lambda line: None)
    assert len(bench.rows[0]) == len(LABELS)
    assert bench.short() == f"{len(NAMES)} classes have fewer than {most + 1} images"
