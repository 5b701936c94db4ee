"""What Snakemake prints when something is wrong is what docs/troubleshooting.md explains."""

import re
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.test_orphans import CELL, hold
from tests.studies import ROOT
from workflow.lib.evaluation import records

pytestmark = pytest.mark.slow


def explained() -> list[list[str]]:
    """The messages in the page's tables: those of a row stand in one output, in this order."""
    section = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
    return [re.findall("`(.+?)`", row) for row in rows if "`" in row]


def is_explained(text: str, start: str) -> bool:
    """Whether the row of the table that begins so quotes what was printed."""
    (quoted,) = (row for row in explained() if row[0] == start)
    return re.search(".*".join(map(re.escape, quoted)), text, re.DOTALL) is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return study.fill(tmp_path / "study")


def test_a_second_run_at_once_and_a_run_after_a_kill(folder: Path, snakefile: Path) -> None:
    hold(folder)
    with study.running(snakefile, folder, CELL) as run:
        study.until((folder / "started").exists)
        assert is_explained(study.fail(snakefile, folder), "LockException")
        run.process.kill()
        run.process.wait()
    (folder / CELL).write_text("{}")  # as if it had been killed when a cell had written, and it had not yet noted so
    assert is_explained(study.fail(snakefile, folder, CELL), "IncompleteFilesException")
    (folder / "go").touch()
    study.finish(snakefile, folder, CELL, "--rerun-incomplete")
    assert records.read(folder / CELL)["method"] == "means"


def test_nothing_has_changed(copy: Path, snakefile: Path) -> None:
    assert is_explained(study.finish(snakefile, copy, "-n"), "Nothing to be done")


def test_a_file_of_vectors_that_is_not_there(folder: Path, snakefile: Path) -> None:
    (folder / "photos.npz").unlink()
    text = study.fail(snakefile, folder)
    assert is_explained(text, "MissingInputException")
    assert re.search(r"affected files:\s+photos\.npz$", text, re.MULTILINE)


def test_a_study_file_that_is_not_there(folder: Path, snakefile: Path) -> None:
    assert is_explained(study.fail(snakefile, folder, study="no.yaml"), "FileNotFoundError")


def test_no_number_of_cores(folder: Path, snakefile: Path) -> None:
    assert is_explained(study.fail(snakefile, folder, cores=""), "cores have to be specified for local execution")


def test_what_has_changed(copy: Path, snakefile: Path) -> None:
    text = study.finish(snakefile, copy, "-n", "--config", "seeds=3")
    assert is_explained(text, "Params have changed since last execution")
