"""The browser that opens the page; where there is none these tests are skipped, and the end of the run says so."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.page import studies
from tests.page.browser import Browser, missing
from workflow.lib.page.content import content
from workflow.lib.page.document import document
from workflow.scripts.report import source


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests: a start takes seconds."""
    if gone := missing():
        reason = f"no {', '.join(gone)} on the PATH; `tests/install.sh browser` installs a browser on Debian, as root"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(f"REQUIRE_BROWSER is set, but there is {reason}")
        pytest.skip(reason)
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.getreports("skipped") if "page/" in report.nodeid]
    if skipped:
        terminalreporter.section("THE PAGE WAS NOT TESTED IN A BROWSER", sep="!", red=True)
        terminalreporter.line(f"{len(skipped)} tests were skipped: {skipped[0].longrepr[2]}")
