"""A study of ten thousand cells: the page is there soon, and sorts at once."""

from pathlib import Path

import pytest

from tests.page import large
from tests.page.browser import Browser


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As full of everything as a page gets."""
    path = tmp_path_factory.mktemp("large") / "report.html"
    assert large.write(path) > 10_000
    return path


def test_ten_thousand_cells_are_there_in_two_seconds_and_sorted_in_a_fifth(browser: Browser, page: Path) -> None:
    """In seconds of the processor: the tests share theirs. `python -m tests.page.large` takes them by the clock."""
    browser.open(page)
    assert browser.busy() < 2
    assert len(browser.texts("#numbers tbody tr")) == 50  # of 290: one page of them
    assert browser.complaints() == []
    took = []
    for way in ("descending", "ascending"):
        before = browser.busy()
        browser.click(large.HEADING)
        browser.wait(f"{large.HEADING}[aria-sort={way}]")
        took.append(browser.busy() - before)
    assert browser.address() == "sort=2a"
    assert min(took) < 0.2
