"""Programs of the system that some tests need: without them these are skipped, and where CI says so they fail."""

import os
import shutil
from collections import Counter

import pytest

SKIPPED = "tests/install.sh", "NOT TESTED"  # what the reasons have that are not to be overlooked


def programs(what: str, *names: str) -> None:
    """Skip a test, or fail it where REQUIRE_<what> is set, unless these programs are there."""
    missing = [name for name in names if shutil.which(name) is None]
    if not missing:
        return
    reason = f"no {', '.join(missing)} on the PATH; `tests/install.sh {what}` installs what it takes on Debian, as root"
    if os.environ.get(variable := f"REQUIRE_{what.upper()}"):
        pytest.fail(f"{variable} is set, but there is {reason}")
    pytest.skip(reason)


def summary(terminal: pytest.TerminalReporter) -> None:
    """Say aloud at the end of a run what was skipped, and why."""
    reasons = [report.longrepr[2] for report in terminal.getreports("skipped")]
    counts = Counter(reason for reason in reasons if any(words in reason for words in SKIPPED))
    if counts:
        terminal.section("NOT EVERYTHING WAS TESTED", sep="!", red=True)
        for reason, count in counts.items():
            terminal.line(f"{count} tests were skipped: {reason.removeprefix('Skipped: ')}")
