"""The SLURM profile, on a real slurmctld with two nodes."""

import signal
from itertools import combinations
from pathlib import Path

import pytest

from tests.slurm import studies
from tests.slurm.cluster import NODES, Cluster, wait_for
from tests.slurm.studies import CELLS, fill, finish, fits, kill, records, results, start

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def of(cluster: Cluster, folder: Path) -> list[dict[str, str]]:
    """The jobs that SLURM was given for a study, in order."""
    return [job for job in cluster.jobs() if job["WorkDir"] == str(folder)]


def groups(cluster: Cluster, folder: Path) -> list[dict[str, str]]:
    return [job for job in of(cluster, folder) if job["JobName"] == "cells"]


def doubled(values: list[int]) -> bool:
    """Whether they are pairs of a value and twice that value."""
    rest = sorted(values)
    while rest:
        if (twice := 2 * rest.pop(0)) not in rest:
            return False
        rest.remove(twice)
    return bool(values)


# --- a study in peace --------------------------------------------------------------------------------------------


def test_every_result_equals_the_local_run_s(local: Path, through_slurm: Path) -> None:
    assert len([path for path in results(local) if path.startswith("metrics/")]) == 10
    assert results(through_slurm) == results(local)


def test_no_gpu_was_shared_and_both_nodes_worked(through_slurm: Path) -> None:
    found = fits(through_slurm)
    assert len(found) == 2 * 4 * 2
    assert {fit.node for fit in found} == set(NODES)
    assert {fit.device for fit in found} == {"0", "1"}
    for one, other in combinations(found, 2):
        if (one.node, one.device) == (other.node, other.device):
            assert one.end <= other.begin or other.end <= one.begin


def test_a_submission_carries_many_cells(cluster: Cluster, through_slurm: Path) -> None:
    names = [job["JobName"] for job in of(cluster, through_slurm)]
    assert sorted(names) == sorted(["features", "duplicates"] * 2 + ["cells"] * 5)  # ten cells in pairs


def test_a_group_asks_for_what_runs_at_once(cluster: Cluster, through_slurm: Path) -> None:
    """Two cells side by side where one of them needs no GPU, else one after the other; never a second GPU."""
    found = groups(cluster, through_slurm)
    assert {(job["NumCPUs"], job["MinMemoryNode"]) for job in found} <= {("1", "3000M"), ("2", "6000M")}
    assert "2" in {job["NumCPUs"] for job in found}
    assert {job.get("TresPerNode", "") for job in found} <= {"", "gres:gpu:1"}
    assert {job["TimeLimit"] for job in found} <= {"00:02:00", "00:04:00"}


def test_a_second_run_submits_nothing(cluster: Cluster, through_slurm: Path) -> None:
    before = len(cluster.jobs())
    assert "Nothing to be done" in finish(start(through_slurm, cluster=cluster), through_slurm)
    assert len(cluster.jobs()) == before


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_one_broken_cell_stops_no_other_and_the_second_attempt_asks_for_more(
    cluster: Cluster, tmp_path: Path, local: Path
) -> None:
    broken = studies.PLUGIN.replace("begin = time.time()", "begin = time.time() / (task.shots != '2')", 1)
    folder = fill(tmp_path / "study", broken)
    running = start(folder, cluster=cluster, targets=CELLS)
    assert running.wait(500) == 1
    lost = "results/trial/metrics/a/mine/watched/2.json"
    assert records(folder) == {path: record for path, record in records(local).items() if path != lost}
    assert "failed: ZeroDivisionError" in "".join(path.read_text() for path in folder.glob(".snakemake/slurm/*.log"))
    failed = [job for job in groups(cluster, folder) if job["JobState"] == "FAILED"]
    memory = [int(job["MinMemoryNode"].removesuffix("M")) for job in failed]
    minutes = [int(job["TimeLimit"].split(":")[1]) for job in failed]
    assert doubled(memory)
    assert doubled(minutes)


def test_a_node_goes_down_and_its_jobs_run_elsewhere(cluster: Cluster, tmp_path: Path, local: Path) -> None:
    folder = fill(tmp_path / "study", studies.SLOW)
    cluster.call("scontrol", "update", "nodename=node1", "state=drain", "reason=test")  # whatever comes goes to node2
    try:
        running = start(folder, cluster=cluster, targets=CELLS)
        wait_for(lambda: fits(folder), "a cell on node2", 200)
    finally:
        cluster.call("scontrol", "update", "nodename=node1", "state=resume")
    victims = {job["JobId"] for job in groups(cluster, folder) if job["NodeList"] == "node2"}
    cluster.kill_node("node2")
    cluster.call("scontrol", "update", "nodename=node2", "state=down", "reason=test")
    try:
        finish(running, folder)
    finally:
        cluster.start_node("node2")
        cluster.call("scontrol", "update", "nodename=node2", "state=resume")
    moved = [job for job in groups(cluster, folder) if job["JobId"] in victims and int(job["Restarts"])]
    assert moved
    assert {job["NodeList"] for job in moved} == {"node1"}
    assert records(folder) == records(local)


def test_snakemake_is_killed_and_its_jobs_do_not_meet_those_of_the_next(
    cluster: Cluster, tmp_path: Path, local: Path
) -> None:
    folder = fill(tmp_path / "study", studies.SLOW_ONCE)
    first = start(folder, cluster=cluster, targets=CELLS)
    wait_for((folder / "tried").exists, "a cell at work", 200)
    kill(first)
    left = {job["JobId"] for job in groups(cluster, folder) if job["JobState"] in ("RUNNING", "PENDING")}
    assert left
    assert start(folder, "--unlock").wait(300) == 0
    finish(start(folder, cluster=cluster, targets=CELLS), folder)
    ended = {job["JobId"]: job["JobState"] for job in groups(cluster, folder)}
    assert "CANCELLED" in {ended[number] for number in left}
    assert records(folder) == records(local)
    assert not list(folder.glob(".snakemake/slurm/*.json"))


def test_ctrl_c_cancels_what_was_submitted(cluster: Cluster, tmp_path: Path) -> None:
    folder = fill(tmp_path / "study")
    running = start(folder, cluster=cluster)
    wait_for(lambda: groups(cluster, folder), "a submission", 200)
    kill(running, signal.SIGINT)
    states = ("RUNNING", "PENDING", "COMPLETING")
    wait_for(lambda: not [job for job in groups(cluster, folder) if job["JobState"] in states], "the end of all jobs")


def test_a_job_out_of_time_is_asked_for_again_with_more(cluster: Cluster, overdue: studies.Overdue) -> None:
    finish(overdue.running, overdue.folder)
    first, second = groups(cluster, overdue.folder)
    assert (first["JobState"], first["TimeLimit"]) == ("TIMEOUT", "00:01:00")
    assert (second["JobState"], second["TimeLimit"]) == ("COMPLETED", "00:02:00")
    assert int(second["MinMemoryNode"][:-1]) == 2 * int(first["MinMemoryNode"][:-1])
