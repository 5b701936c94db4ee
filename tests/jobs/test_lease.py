"""Leases on GPUs: which there are, that a job has one for itself, and that it is free when the job is gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.jobs import gpus
from workflow.lib.errors import UserError
from workflow.lib.jobs import lease

TWO = ("GPU-aaaa-1", "GPU-bbbb-2")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process on a machine with two GPUs."""
    for name in gpus.FORGET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(gpus.install(tmp_path / "bin", gpus.listing(*TWO))), prepend=os.pathsep)
    monkeypatch.setattr(lease.tempfile, "tempdir", str(tmp_path))
    return monkeypatch


@pytest.fixture
def jobs() -> Iterator[list["subprocess.Popen[str]"]]:
    """Jobs that are ended with the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for job in started:
        job.kill()
        job.communicate()


# --- which GPUs there are ----------------------------------------------------------------------------------------


def found() -> list[tuple[str, str]]:
    return [(device.name, device.key) for device in lease.devices()]


def test_without_variables_nvidia_smi_lists_them_by_uuid(machine: pytest.MonkeyPatch) -> None:
    assert found() == [(uuid, uuid) for uuid in TWO]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", [("1", TWO[1])]),
        ("1,0", [("1", TWO[1]), ("0", TWO[0])]),
        (" 0 , 1", [("0", TWO[0]), ("1", TWO[1])]),
        (TWO[1], [(TWO[1], TWO[1])]),
        ("GPU-bb", [("GPU-bb", TWO[1])]),  # the beginning of a UUID is enough for CUDA
        ("0,GPU-aaaa-1", [("0", TWO[0])]),  # one GPU under two names
        ("MIG-cccc", [("MIG-cccc", "MIG-cccc")]),
        ("7", [("7", "7")]),
        ("0,-1,1", [("0", TWO[0])]),
        ("-1", []),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_restricts_them_and_its_names_are_kept(
    machine: pytest.MonkeyPatch, visible: str, expected: list[tuple[str, str]]
) -> None:
    """The keys are UUIDs, so that those who say index and those who say UUID lease against each other."""
    machine.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert found() == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CUDA_VISIBLE_DEVICES": "1"}, [("1", "slurm-7-1")]),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, [("0", "slurm-7-0"), ("1", "slurm-7-1")]),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "3"}, [("0", "slurm-7-3")]),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2,3", "SLURM_STEP_GPUS": "3"}, [("0", "slurm-7-3")]),
        ({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "2,3"}, [("0", "slurm-7-0")]),  # a task's share of a job's
        ({"SLURM_JOB_GPUS": "2,3"}, [("2", "slurm-7-2"), ("3", "slurm-7-3")]),
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "2"}, []),
        ({}, [(uuid, uuid) for uuid in TWO]),  # a cluster that does not count GPUs
    ],
)
def test_in_a_slurm_job_its_assignment_counts(
    machine: pytest.MonkeyPatch, variables: Mapping[str, str], expected: list[tuple[str, str]]
) -> None:
    machine.setenv("SLURM_JOB_ID", "7")
    for name, value in variables.items():
        machine.setenv(name, value)
    assert found() == expected


@pytest.mark.parametrize(
    "script", ["exit 9", "echo 'NVIDIA-SMI has failed because it could not reach the driver.'; exit 9"]
)
def test_an_nvidia_smi_without_a_driver_lists_none(machine: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    gpus.install(tmp_path / "bin", script)
    assert found() == []


def test_an_nvidia_smi_that_hangs_is_an_error_with_a_way_out(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus.install(tmp_path / "bin", "exec sleep 60")
    machine.setattr(lease, "PATIENCE", 0.1)
    with pytest.raises(UserError, match=r"not answered in 0.1 seconds.*CUDA_VISIBLE_DEVICES= in front of the command"):
        lease.devices()


def test_without_a_gpu_not_even_the_library_of_locks_is_imported(tmp_path: Path) -> None:
    program = "import sys; from workflow.lib.jobs import lease; print(lease.take(1, print), 'filelock' in sys.modules)"
    environ = {name: value for name, value in os.environ.items() if name not in gpus.FORGET} | {"PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], cwd=gpus.ROOT, env=environ, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("None False\n", "")


# --- one job, one GPU --------------------------------------------------------------------------------------------


def run_all(jobs: list["subprocess.Popen[str]"], total: int, width: int, *start: object, **how: object) -> None:
    """Run `total` jobs, `width` at a time."""
    running: list[subprocess.Popen[str]] = []
    for _ in range(total):
        if len(running) == width:
            assert running.pop(0).wait(timeout=120) == 0
        running.append(gpus.hold(*start, **how))  # type: ignore[arg-type]
        jobs.append(running[-1])
    assert [job.wait(timeout=120) for job in running] == [0] * len(running)


@pytest.mark.parametrize("slots", [1, 2])
def test_of_24_jobs_8_at_a_time_no_more_share_a_gpu_than_may_and_both_are_used(
    tmp_path: Path, jobs: list["subprocess.Popen[str]"], slots: int
) -> None:
    run_all(jobs, 24, 8, tmp_path / "record", gpus.environment(tmp_path, *TWO), seconds=0.3, slots=slots)
    intervals = gpus.read(tmp_path / "record")
    assert len(intervals) == 24
    together = gpus.at_once(intervals)
    assert set(together) == set(TWO)
    assert max(together.values()) <= slots


def test_a_restricted_run_leaves_the_other_gpu_alone(tmp_path: Path, jobs: list["subprocess.Popen[str]"]) -> None:
    environ = gpus.environment(tmp_path, *TWO, CUDA_VISIBLE_DEVICES="1")
    run_all(jobs, 6, 6, tmp_path / "record", environ)
    assert gpus.at_once(gpus.read(tmp_path / "record")) == {"1": 1}


def test_the_emptiest_gpu_comes_first_until_all_are_full(tmp_path: Path, jobs: list["subprocess.Popen[str]"]) -> None:
    environ, record = gpus.environment(tmp_path, *TWO), tmp_path / "record"

    def another() -> "subprocess.Popen[str]":
        jobs.append(gpus.hold(record, environ, seconds=600, slots=2))
        return jobs[-1]

    names = [gpus.says(another(), "holding").split()[1] for _ in range(4)]
    assert [sorted(names[:2]), sorted(names[2:])] == [list(TWO), list(TWO)]
    gpus.says(fifth := another(), "waiting")
    for job, name in zip(jobs, names, strict=False):
        if name == TWO[0]:
            job.kill()
            job.wait()
    assert gpus.says(fifth, "holding") == f"holding {TWO[0]}"
    assert gpus.says(another(), "holding") == f"holding {TWO[0]}"


def test_who_waits_says_so_and_what_would_help(tmp_path: Path, jobs: list["subprocess.Popen[str]"]) -> None:
    environ = gpus.environment(tmp_path, "GPU-only")
    jobs += [gpus.hold(tmp_path / "record", environ, seconds=600)]
    gpus.says(jobs[0], "holding")
    jobs += [gpus.hold(tmp_path / "record", environ)]
    assert gpus.says(jobs[1], "waiting") == (
        "waiting for a GPU: all are taken (GPU-only; jobs on each: 1);"
        " snakemake --resources gpu=1 starts no more GPU jobs than there is room for"
    )


def test_the_gpu_of_a_killed_job_is_free_at_once(tmp_path: Path, jobs: list["subprocess.Popen[str]"]) -> None:
    environ = gpus.environment(tmp_path, "GPU-only")
    jobs += [gpus.hold(tmp_path / "record", environ, seconds=600)]
    gpus.says(jobs[0], "holding")
    jobs += [gpus.hold(tmp_path / "record", environ)]
    gpus.says(jobs[1], "waiting")
    jobs[0].send_signal(signal.SIGKILL)
    assert jobs[1].wait(timeout=120) == 0
    assert len(gpus.read(tmp_path / "record")) == 1


def test_jobs_of_two_slurm_jobs_do_not_wait_for_each_other(tmp_path: Path, jobs: list["subprocess.Popen[str]"]) -> None:
    """Both may call their own GPU 0; those of one job share it out."""
    one, other = (gpus.environment(tmp_path, CUDA_VISIBLE_DEVICES="0", SLURM_JOB_ID=job) for job in ("7", "8"))
    jobs += [gpus.hold(tmp_path / "record", environ, seconds=600) for environ in (one, other)]
    assert [gpus.says(job, "holding") for job in jobs] == ["holding 0", "holding 0"]
    jobs += [gpus.hold(tmp_path / "record", one)]
    gpus.says(jobs[2], "waiting")


def test_a_second_lease_of_a_process_is_its_first(tmp_path: Path) -> None:
    program = "from workflow.lib.jobs import lease; print([lease.take(1, lambda line: None) for _ in range(2)])"
    environ = gpus.environment(tmp_path, *TWO)
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"{[TWO[0]] * 2}\n"


# --- the folder of the locks -------------------------------------------------------------------------------------


def test_the_locks_are_the_user_s_own(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = lease._folder()
    assert folder == tmp_path / f"clip-adapter-bench-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert lease._folder() == folder


def test_what_somebody_else_put_in_its_place_is_passed_over(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"clip-adapter-bench-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{name}-a").touch()
    assert lease._folder() == tmp_path / f"{name}-b"


def test_where_every_name_is_taken_the_error_says_what_helps(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(lease.os, "getuid", lambda: 12345)  # so all that is made here is another user's
    with pytest.raises(UserError, match=r"clip-adapter-bench-12345: no folder of yours.*set TMPDIR"):
        lease._folder()
