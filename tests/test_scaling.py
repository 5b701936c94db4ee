"""A job's memory and what it reads don't grow with the features that it does not use."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scaling import MadeUp
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.features import store
from workflow.lib.features.store import Features, Split

TRAIN, TEST, DIM, CLASSES = 60_000, 500, 512, 50


def run_benchmark(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.scaling", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_no_job_holds_features_of_300_mb(tmp_path: Path) -> None:
    """Python with its libraries is 65 MB; the list of 150 000 images, which some of the jobs read, up to 40 more."""
    sizes = ["--train", "150000", "--test", "1000", "--classes", "100", "--folder", str(tmp_path)]
    done = run_benchmark(*sizes, "--methods", "zero_shot", "gda", "--limit", "150")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the features file has 0.32 GB" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_job_above_the_limit_ends_the_benchmark() -> None:
    done = run_benchmark("--train", "1000", "--test", "100", "--classes", "10", "--limit", "20")
    assert done.returncode == 1
    assert "error: gather took" in done.stderr
    assert "at most 20 are allowed" in done.stderr


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features with 120 MB of train and as much again of val."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, DIM), np.float32)
    splits = {}
    for name, size in {"train": TRAIN, "val": TRAIN, "test": TEST}.items():
        labels = rng.permutation(np.arange(size) % CLASSES)
        splits[name] = Split(MadeUp(centres, labels), labels)
    path = tmp_path_factory.mktemp("made") / "features"
    store.write(path, Features(splits, tuple(f"class {k}" for k in range(CLASSES)), centres[:, None], 100.0))
    return path


@pytest.mark.parametrize(("select", "splits"), [("last", "train test"), ("val_full", "train val test")])
def test_a_cell_reads_its_support_and_the_splits_that_it_scores(
    path: Path, monkeypatch: pytest.MonkeyPatch, select: str, splits: str
) -> None:
    sizes: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *call: sizes.append(call[1]) or pread(*call))  # type: ignore[func-returns-value]
    cell = Cell("trial", "made", "up", "probe", "probe", "4", 1, "test", select, [])
    bench = Bench(cell, store.read(path, cell.splits()), "cpu", 1, lambda line: None)
    task, _ = bench.task(raw=False), bench.judge(raw=False)
    row = 4 * DIM
    scored = TEST + (TRAIN if "val" in splits else 0)
    drawn = 4 * CLASSES
    fixed = 2**20 + 8 * 2 * (TRAIN + TEST)  # header, checksums, text, labels
    assert sum(sizes) < fixed + (scored + drawn * 8) * row  # a block has eight rows
    assert task.supports[0].x.shape == (drawn, DIM)
