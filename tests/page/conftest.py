"""The browser that opens the page, and the page."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.page import studies
from tests.page.browser import PROGRAMS, Browser
from workflow.lib.page.content import content
from workflow.lib.page.document import document
from workflow.scripts.report import source


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests: a start takes seconds."""
    needs.programs("browser", *PROGRAMS)
    folder = tmp_path_factory.mktemp("browser")
    running = Browser(folder)
    yield running
    running.quit()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a study with names that hurt."""
    return studies.write(tmp_path_factory.mktemp("results") / "trial", studies.plan())


@pytest.fixture(scope="session")
def page(trial: Path) -> Path:
    """Its page."""
    path = trial / "report.html"
    path.write_text(document(content([source(trial, studies.plan())]), "trial"), encoding="utf-8")
    return path
