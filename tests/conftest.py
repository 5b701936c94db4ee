"""What several tests share: the profile of hypothesis, the order of the files, small features, a copy of the code."""

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import longest, needs
from tests.samples import make_features
from tests.studies import ROOT, copy_code, once
from workflow.lib.features.store import Features

# The same examples every time, so that nothing fails by chance; FUZZ_EXAMPLES=5000 looks for what no test has met yet.
settings.register_profile(
    "tests",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "50")),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest.sort(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    longest.summary(terminalreporter)
    needs.summary(terminalreporter)


@pytest.fixture
def features() -> Features:
    """Four classes with text."""
    return make_features()


@pytest.fixture
def features_of() -> Callable[..., Features]:
    """Makes features of other sizes, or without text."""
    return make_features


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a small study: its cells are computed, its tables made. To be looked at only."""
    from tests.reporting.computed import finished

    return once(tmp_path_factory, "computed", finished)


@pytest.fixture(scope="session")
def snakefile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code as it was when the tests began: an edit made meanwhile would make everything run again."""

    def copy(folder: Path) -> None:
        import_module("workflow.lib.engine.steps")  # compiled now, it need not be in the copy
        copy_code(ROOT, folder)

    return once(tmp_path_factory, "code", copy) / "Snakefile"
