"""The SLURM that these tests start; where there is none they are skipped, and the end of the run says so aloud."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm import cluster as clusters
from tests.slurm import studies


@pytest.fixture(scope="session")
def cluster() -> Iterator[clusters.Cluster]:
    """Two nodes with two stand-in GPUs each; stopped at the end, whatever has happened."""
    if missing := clusters.missing():
        reason = f"no {', '.join(missing)} on the PATH; `tests/install.sh slurm` installs SLURM on Debian, as root"
        if os.environ.get("REQUIRE_SLURM"):
            pytest.fail(f"REQUIRE_SLURM is set, but there is {reason}")
        pytest.skip(reason)
    with clusters.running() as running:
        yield running


@pytest.fixture(scope="session")
def local(cluster: clusters.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run here: of use only where there is a cluster to compare with."""
    folder = studies.fill(tmp_path_factory.mktemp("local") / "study")
    studies.finish(studies.start(folder), folder)
    return folder


@pytest.fixture(scope="session")
def overdue(cluster: clusters.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[studies.Overdue]:
    """One cell that would take ten minutes at its first attempt and has one: begun early, while other tests run."""
    folder = studies.fill(tmp_path_factory.mktemp("overdue") / "study", studies.SLOW_ONCE)
    limits = ["--set-resources", "evaluate:runtime=attempt", "--default-resources", "slurm_extra=--nodelist=node1"]
    running = studies.start(folder, *limits, cluster=cluster, target="results/trial/metrics/a/mine/watched/4.json")
    yield studies.Overdue(folder, running)
    studies.kill(running)


@pytest.fixture(scope="session")
def through_slurm(
    cluster: clusters.Cluster, overdue: studies.Overdue, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same study, run through SLURM."""
    folder = studies.fill(tmp_path_factory.mktemp("slurm") / "study")
    studies.finish(studies.start(folder, cluster=cluster), folder)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.getreports("skipped") if "slurm/" in report.nodeid]
    if skipped:
        terminalreporter.section("SLURM WAS NOT TESTED", sep="!", red=True)
        terminalreporter.line(f"{len(skipped)} tests of the SLURM profile were skipped: {skipped[0].longrepr[2]}")
