"""Undisturbed runs, which the disturbed ones are held to."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults import study


@pytest.fixture(scope="session")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run without a fault."""
    folder = study.fill(tmp_path_factory.mktemp("undisturbed") / "study")
    study.finish(snakefile, folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(finished: Path) -> dict[str, Any]:
    """What the study makes."""
    return study.outcome(finished)


@pytest.fixture(scope="session")
def finished_with_images(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with extraction, run without a fault."""
    folder = study.fill(tmp_path_factory.mktemp("undisturbed") / "images", backbones=study.TINY | study.MINE)
    study.finish(snakefile, folder)
    return folder
