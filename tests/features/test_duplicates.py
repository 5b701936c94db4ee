"""Images that stand in two splits: exact ones by content, near ones by features, and what a table says of them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods.contract.base import unit
from tests.data.pictures import cloths
from workflow.lib.data import contents
from workflow.lib.data.index import Index, write_index
from workflow.lib.errors import UserError
from workflow.lib.features import duplicates, store
from workflow.lib.features.duplicates import Report, Shared
from workflow.lib.features.store import Features, Split
from workflow.lib.reporting.tables import shared_images

ROOT = Path(__file__).parents[2]
SIZES = {"train": 300, "val": 50, "test": 200}


def features(seed: int = 0, files: bool = True) -> Features:
    """Random features of 64 numbers; of the test images 10 are copies of train, 5 almost, and 3 copies of val."""
    rng = np.random.default_rng(seed)
    x = {split: rng.normal(size=(n, 64)).astype(np.float32) for split, n in SIZES.items()}
    x["test"][:10] = 3 * x["train"][20:30]  # the length of a vector says nothing
    x["test"][10:15] = x["train"][40:45] + 0.03 * rng.normal(size=(5, 64)).astype(np.float32)
    x["test"][15:18] = x["val"][:3]
    splits = {split: Split(own, np.arange(len(own)) % 2) for split, own in x.items()}
    names = {split: [f"{split}/{row}.jpg" for row in range(n)] for split, n in SIZES.items()} if files else {}
    return Features(splits, ("a", "b"), None, 100.0, files=names)


HASHES = {f"test/{row}.jpg": f"h{row}" for row in range(8)} | {f"train/{20 + row}.jpg": f"h{row}" for row in range(8)}


def counts(found: Report) -> dict[tuple[str, str], tuple[int, int]]:
    return {shared.splits: (shared.exact, shared.near) for shared in found.shared}


@pytest.mark.parametrize("block", [13, 100, 4096])
def test_exact_and_near_ones_are_counted_and_listed(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    found = duplicates.find(features(), HASHES)
    assert counts(found) == {("train", "val"): (0, 0), ("train", "test"): (8, 7), ("val", "test"): (0, 3)}
    pairs = found.shared[1].pairs
    assert pairs[0] == ("train/20.jpg", "test/0.jpg", 1.0)
    assert {(first, second) for first, second, _ in pairs} == {
        *((f"train/{20 + row}.jpg", f"test/{row}.jpg") for row in range(10)),
        *((f"train/{40 + row}.jpg", f"test/{10 + row}.jpg") for row in range(5)),
    }
    assert all(cosine >= found.bound for _, _, cosine in pairs)


def test_the_bound_is_set_by_the_images_or_by_hand() -> None:
    wide = duplicates.find(features(), {}).bound
    narrow = features()
    for split in narrow.splits.values():
        split.x[:] += 4  # type: ignore[index]  # all images alike, as those of one kind of cloth
    assert wide < 0.97 < duplicates.find(narrow, {}).bound
    assert counts(duplicates.find(features(), {}, bound=0.999999))["train", "test"] == (0, 10)
    assert counts(duplicates.find(features(), {}, bound=-1.0))["train", "test"] == (0, 200)


def test_doubles_in_most_images_don_t_hide_a_near_one() -> None:
    made = features()
    made.splits["test"].x[18:] = made.splits["train"].x[100:282]  # type: ignore[index]
    assert counts(duplicates.find(made, {}))["train", "test"] == (0, 197)


def test_features_without_files_have_rows() -> None:
    found = duplicates.find(features(files=False), {})
    assert found.shared[1].pairs[0][:2] in {(f"row {20 + row}", f"row {row}") for row in range(10)}


def test_too_many_to_compare_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST", 40_000)
    found = duplicates.find(features(), HASHES)
    assert counts(found) == {("train", "val"): (0, 0), ("train", "test"): (8, -1), ("val", "test"): (0, 3)}
    assert "byte for byte" in shared_images(found)[0]
    assert "look like" not in shared_images(found)[0]


def test_near_ones_are_listed_by_nearness_then_by_name() -> None:
    """Angles of so many thousandths: cosines of 1 - angle² / 2, which for the last two differ in the sixth digit."""
    angles = np.array([9, 0, 2, 4, 3, 0]) / 1000
    x = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    splits = {"train": Split(x[1:2], np.zeros(1, int)), "test": Split(x, np.zeros(6, int))}
    (shared,) = duplicates.find(Features(splits, ("a",), None, 100.0), {}, bound=0.9).shared
    assert [int(second.split()[1]) for _, second, _ in shared.pairs] == [1, 5, 2, 4, 3, 0]
    assert [cosine for *_, cosine in shared.pairs] == pytest.approx(1 - np.sort(angles) ** 2 / 2, abs=6e-7)


def test_no_cosine_is_above_1_however_lengths_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "unit", lambda x: np.float32(1.00001) * unit(x))
    assert {cosine for *_, cosine in duplicates.find(features(), {}).shared[1].pairs[:10]} == {1.0}


def test_no_more_than_so_many_pairs_are_listed_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "LISTED", 9)
    shared = duplicates.find(features(), HASHES).shared[1]
    assert (len(shared.pairs), shared.exact, shared.near) == (9, 8, 7)


def test_rows_of_zeros_are_near_nothing() -> None:
    made = features()
    made.splits["test"].x[:18] = 0  # type: ignore[index]
    assert counts(duplicates.find(made, {}))["train", "test"] == (0, 0)


def test_a_report_is_read_as_it_was_written() -> None:
    found = duplicates.find(features(), HASHES)
    again = Report.from_json(json.loads(json.dumps(found.to_json())), "here")
    assert counts(again) == counts(found)
    with pytest.raises(UserError, match="here: no report on duplicates; delete it"):
        Report.from_json({"bound": 1}, "here")


def test_a_table_has_a_line_for_every_two_splits_with_images_in_common() -> None:
    shared = [
        Shared(("train", "val"), 0, 0, []),
        Shared(("train", "test"), 12, 3, []),
        Shared(("val", "test"), 0, 1, []),
    ]
    assert shared_images(Report(0.98, shared)) == [
        "Of the images of test, 12 are in train too, byte for byte and 3 look like one in train (cosine of features at "
        "least 0.9800).",
        "Of the images of test, 1 looks like one in val (cosine of features at least 0.9800).",
        "They are listed by python -m workflow.scripts.duplicates.",
    ]
    assert shared_images(Report(0.98, shared[:1])) == []


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Any]:
    """Three pictures in train and in test, one of them the same file under another name, with their features."""
    root = cloths(tmp_path / "cloth", each=2)
    shutil.copy(root / "local" / "local_000.jpg", root / "nominal" / "again.jpg")
    train = [("global/global_000.jpg", 0), ("local/local_000.jpg", 1)]
    test = [("global/global_001.jpg", 0), ("nominal/again.jpg", 1)]
    index = Index(("a", "b"), root, {"train": train, "test": test})
    write_index(tmp_path / "index.json", index)
    x = np.eye(4, dtype=np.float32)
    splits = {"train": Split(x[:2], np.arange(2)), "test": Split(x[[2, 1]], np.arange(2))}
    files = {split: [file for file, _ in own] for split, own in index.splits.items()}
    store.write(tmp_path / "f.safetensors", Features(splits, ("a", "b"), None, 100.0, files=files))
    return {"folder": tmp_path, "index": index}


def test_only_files_that_may_have_a_double_are_read(photos: dict[str, Any]) -> None:
    found = contents.doubles(photos["index"], photos["folder"], threads=1)
    assert found["local/local_000.jpg"] == found["nominal/again.jpg"]
    assert not (photos["folder"] / contents.NAME).exists()


def command(photos: dict[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    script = [sys.executable, "-m", "workflow.scripts.duplicates", str(photos["folder"] / "f.safetensors")]
    return subprocess.run([*script, *options], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_lists_the_pairs(photos: dict[str, Any]) -> None:
    done = command(photos, "--index", str(photos["folder"] / "index.json"))
    assert done.stdout.splitlines()[0] == "train local/local_000.jpg\ttest nominal/again.jpg\texact"
    assert done.stdout.splitlines()[1].startswith("test: 1 images are in train too, 0 look like one there (cosine ")
    without = command(photos)
    assert without.stdout.splitlines()[0] == "train local/local_000.jpg\ttest nominal/again.jpg\tcosine 1.0000"
    assert command(photos, "--bound", "3").stderr == "error: --bound: found 3.0, allowed: a cosine, from -1 to 1\n"


def test_images_that_are_gone_leave_the_features_to_compare(photos: dict[str, Any]) -> None:
    shutil.rmtree(photos["folder"] / "cloth")
    done = command(photos, "--index", str(photos["folder"] / "index.json"))
    assert "is gone: exact duplicates are not looked for" in done.stderr
    assert "cosine 1.0000" in done.stdout
