"""A study of ten thousand cells: the page is there soon, and sorts at once."""

from pathlib import Path

import pytest

from tests.page.browser import Browser
from tests.reporting import grid
from workflow.lib.page.content import content
from workflow.lib.page.document import document
from workflow.lib.page.layout import Source
from workflow.lib.reporting.results import Results

DATASETS = [f"dataset_{i}" for i in range(7)]
SHOTS = ["1", "2", "4", "8", "all"]
METHODS = [{"label": f"method_{i}", "variants": ["-"], "learns": True} for i in range(290)]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 7 datasets, 290 methods and five numbers of shots."""
    plan = grid.plan(datasets=DATASETS, shots=SHOTS, methods=METHODS)
    records = {
        key: grid.record({"-": [0.4 + i % 97 / 300, 0.4 + i % 89 / 300]}, key) for i, key in enumerate(plan.cells())
    }
    assert len(records) > 10_000
    path = tmp_path_factory.mktemp("large") / "report.html"
    path.write_text(document(content([Source(path.parent, Results(plan, records), {})]), "large"), encoding="utf-8")
    return path


def test_ten_thousand_cells_are_there_in_two_seconds_and_sorted_in_a_fifth(browser: Browser, large: Path) -> None:
    """In seconds of the processor: the tests share theirs."""
    browser.open(large)
    assert browser.busy() < 2
    assert len(browser.texts("#numbers tbody tr")) == 50  # of 290: one page of them
    assert browser.complaints() == []
    took = []
    heading = "#numbers thead th:nth-child(3)"
    for way in ("descending", "ascending"):
        before = browser.busy()
        browser.click(heading)
        browser.wait(f"{heading}[aria-sort={way}]")
        took.append(browser.busy() - before)
    assert browser.address() == "sort=2a"
    assert min(took) < 0.2
