"""Undisturbed runs, which the disturbed ones are held to."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.faults import study
from tests.studies import once


@pytest.fixture(scope="session")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run without a fault: to be looked at or copied."""
    return once(tmp_path_factory, "undisturbed", lambda at: study.finish(snakefile, study.fill(at / "study"))) / "study"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A finished study of one's own: the times of the files are kept."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


@pytest.fixture(scope="session")
def undisturbed(finished: Path) -> dict[str, Any]:
    """What the study makes."""
    return study.outcome(finished)


@pytest.fixture(scope="session")
def finished_with_images(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with extraction, run as far as its tables without a fault."""
    folder = study.fill(tmp_path_factory.mktemp("undisturbed") / "images", backbones=study.TINY | study.MINE)
    study.finish(snakefile, folder, "tables")
    return folder
