"""A job that fails loses its old output: the next run makes it anew, and does not take old tables for the answer."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.faults import study
from workflow.lib.evaluation import records

pytestmark = pytest.mark.slow
CELL = "results/faults/metrics/photos/mine/means/1.json"


def change(folder: Path, **changes: object) -> None:
    """Other values of keys of the study."""
    config = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump(config | changes))


def test_a_cell_that_fails_when_its_parameter_has_changed_is_run_again(copy: Path, snakefile: Path) -> None:
    change(copy, methods={"zero_shot": None, "means": {"sign": -1.0}})
    with study.running(snakefile, copy, CELL) as run:
        cell = run.job("evaluate")
        assert cell is not None
        study.kill(cell)
        assert run.wait() == 1
    assert not (copy / CELL).exists()
    study.finish(snakefile, copy, "tables")
    (variant,) = records.read(copy / CELL)["variants"]
    assert variant["params"] == {"sign": -1.0}
    table = (copy / "results/faults/tables/photos.mine.md").read_text().splitlines()
    (row,) = (line for line in table if line.startswith("| means"))
    accuracy = sum(seed["metrics"]["accuracy"] for seed in variant["seeds"]) / len(variant["seeds"])
    assert f"{100 * accuracy:.2f} ±" in row


def test_cells_know_when_the_features_of_a_changed_backbone_could_not_be_made(copy: Path, snakefile: Path) -> None:
    change(copy, backbones={"mine": {"features": "other/{dataset}.npz"}})
    (copy / "other").mkdir()
    (copy / "other/photos.npz").write_bytes(b"no vectors")
    assert "error: other/photos.npz: not an npz file, or cut short" in study.fail(snakefile, copy)
    assert not (copy / "features/mine/photos.safetensors").exists()
    shutil.copy(copy / "photos.npz", copy / "other")
    before = (copy / CELL).stat().st_mtime_ns
    study.finish(snakefile, copy, CELL)
    assert (copy / CELL).stat().st_mtime_ns > before
