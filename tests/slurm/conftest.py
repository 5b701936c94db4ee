"""The SLURM that these tests start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.slurm import cluster as clusters
from tests.slurm import studies


@pytest.fixture(scope="session")
def cluster() -> Iterator[clusters.Cluster]:
    """Two nodes with two stand-in GPUs each; stopped at the end, whatever has happened."""
    needs.programs("slurm", *clusters.PROGRAMS)
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
    running = studies.start(folder, *limits, cluster=cluster, targets=["results/trial/metrics/a/mine/watched/4.json"])
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
