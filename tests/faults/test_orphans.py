"""Snakemake alone is killed: what it started ends by itself, and nothing old gets over what the next run makes."""

from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.test_failed import change
from workflow.lib.evaluation import records

pytestmark = pytest.mark.slow
CELL = "results/faults/metrics/photos/mine/means/1.json"
SLOW = """
    def fit(self, task, replicas):
        import pathlib, time

        pathlib.Path("started").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
        yield from super().fit(task, replicas)
"""


def hold(folder: Path) -> None:
    """Cells of `means` wait for the file `go` before they compute."""
    plugin = folder / "means.py"
    plugin.write_text(plugin.read_text().replace("\n    def classifier", f"{SLOW}\n    def classifier"))


def test_the_orphan_of_a_killed_snakemake_ends_and_the_next_run_is_right(snakefile: Path, tmp_path: Path) -> None:
    folder = study.fill(tmp_path / "study")
    hold(folder)
    with study.running(snakefile, folder, CELL) as run:
        study.until((folder / "started").exists)
        run.process.kill()
        run.process.wait()
        change(folder, methods={"zero_shot": None, "means": {"sign": -1.0}})
        (folder / "started").unlink()
        with study.running(snakefile, folder, CELL, "--rerun-incomplete") as again:
            study.until((folder / "started").exists)
            study.until(lambda: not run.jobs("evaluate"))
            assert not (folder / CELL).exists()
            (folder / "go").touch()
            assert again.wait() == 0, again.text()
            assert "Removed the lock that a killed run had left" in again.text()
    assert [variant["params"] for variant in records.read(folder / CELL)["variants"]] == [{"sign": -1.0}]
    assert study.strays(folder) == []
