"""The test files that take longest. They run first: with few workers, one of them would be left with the last."""

from collections import Counter

import pytest

# The longest first, and before all what mostly waits. Those of half a minute and more on a quiet core stand here.
FIRST = [
    "test_docs_blocks",
    "slurm/test_profile",
    "test_workflow",
    "faults/test_kill",
    "test_changed_images",
    "test_gpus",
    "test_warm",
    "test_views",
    "methods/test_cli",
    "test_shards",
    "faults/test_disk",
    "nano/test_nano",
    "test_environment",
    "test_cross_validated",
]
LONG = 0.03  # of the time of all tests
MANY = 50  # files that a run has to have before it says which of them are long


def sort(items: list[pytest.Item]) -> None:
    """Put the tests of these files first, in this order."""
    places = {f"tests/{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.nodeid.split("::")[0], len(places)))


def summary(terminal: pytest.TerminalReporter) -> None:
    """Say at the end of a run which file took long and does not stand in the list."""
    seconds = Counter[str]()
    for report in (one for kind in ("", "passed", "failed") for one in terminal.getreports(kind)):
        seconds[report.nodeid.split("::")[0]] += getattr(report, "duration", 0)
    least = LONG * seconds.total() if len(seconds) > MANY else float("inf")
    for file, total in seconds.most_common():
        if total > least and file.removeprefix("tests/").removesuffix(".py") not in FIRST:
            terminal.line(f"{file} took {total:.0f} s: it belongs into FIRST in tests/longest.py")
