"""The profile's two scripts without a SLURM: what they ask it, and what they make of its answers."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.studies import PROFILE
from workflow.profiles.slurm import submit

JOB: dict[str, Any] = {
    "type": "group",
    "groupid": "cells",
    "threads": 2,
    "output": ["results/1.json"],
    "resources": {"mem_mb": 6000, "runtime": 30, "gpu": 1, "tmpdir": "<TBD>"},
}
CALL = (
    "cd /study && python -m snakemake --snakefile 'Snakefile' --attempt {attempt} --force-use-threads --force"
    " --target-files-omit-workdir-adjustment --mode 'remote' && exit 0 || exit 1"
)


def script(attempt: int = 1, **changes: Any) -> str:
    """A job's script as Snakemake writes it."""
    return f"#!/bin/sh\n{submit.MARK}{json.dumps(JOB | changes)}\n{CALL.format(attempt=attempt)}\n"


def install(folder: Path, name: str, text: str) -> None:
    """A stand-in for one of SLURM's programs."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins, first on the PATH; the working directory is another."""
    for name in ("bin", "study"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path / "study")
    install(tmp_path / "bin", "sinfo", "echo 'gpu* 1:00:00'; echo 'long 7-00:00:00'")
    install(tmp_path / "bin", "sbatch", 'echo "$@" > asked; echo "42;cluster"')
    install(tmp_path / "bin", "squeue", "true")
    install(tmp_path / "bin", "scancel", "echo $1 >> cancelled")
    return tmp_path / "bin"


def handed_over(text: str) -> subprocess.CompletedProcess[str]:
    """What submit.py says to a job's script."""
    Path("job.sh").write_text(text)
    command = [sys.executable, str(PROFILE / "submit.py"), "job.sh"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- submitting --------------------------------------------------------------------------------------------------


def options(limit: int | None = None, **resources: Any) -> list[str]:
    return submit.command(JOB | {"resources": JOB["resources"] | resources}, limit)


def test_a_job_asks_for_its_cores_memory_time_and_gpu() -> None:
    assert {"--cpus-per-task=2", "--mem=6000", "--time=30", "--gres=gpu:1", "--requeue"} <= set(options())


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"slurm_partition": "long"}, "--partition=long"),
        ({"slurm_account": "mine"}, "--account=mine"),
        ({"qos": "high"}, "--qos=high"),
        ({"constraint": "a100"}, "--constraint=a100"),
        ({"gpu": 2, "gpu_model": "a100"}, "--gres=gpu:a100:2"),
        ({"slurm_extra": "--mail-type=FAIL --exclude=n1"}, "--exclude=n1"),
    ],
)
def test_what_the_profile_sets_reaches_sbatch(resources: dict[str, Any], expected: str) -> None:
    assert expected in options(**resources)


def test_what_is_not_set_is_left_to_the_cluster() -> None:
    named = " ".join(options(gpu=0))
    assert not re.search("--(partition|account|qos|constraint|gres)", named)


def test_the_time_stays_below_the_partition_s_limit() -> None:
    assert "--time=20" in options(limit=20)
    assert "--time=30" in options(limit=60)


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("infinite", None), ("30:00", 30), ("1:00:00", 60), ("2-12:30:00", 3630), ("0:30", 0), ("n/a", None)],
)
def test_limits_are_read_as_sinfo_writes_them(limit: str, minutes: int | None) -> None:
    assert submit.in_minutes(limit) == minutes


def test_the_number_is_printed_and_the_outputs_are_noted(programs: Path) -> None:
    done = handed_over(script())
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    assert json.loads(Path(".snakemake/slurm/42.json").read_text()) == JOB["output"]


@pytest.mark.parametrize(("partition", "minutes"), [("", 60), ("gpu", 60), ("long", 90)])
def test_the_limit_is_that_of_the_partition_or_of_the_default_one(programs: Path, partition: str, minutes: int) -> None:
    handed_over(script(resources={"mem_mb": 100, "runtime": 90, "slurm_partition": partition}))
    assert f"--time={minutes}" in Path("asked").read_text()


def test_the_group_s_snakemake_goes_on_after_a_failure_and_keeps_to_the_gpus() -> None:
    text = submit.edited(script(), 1)
    assert " -m snakemake --keep-going --resources gpu=1 --snakefile " in text
    assert " --force-use-threads --target-files" in text  # without --force: what is there is done
    assert "--resources" not in submit.edited(script(), 0)


def test_a_script_of_another_form_is_refused(programs: Path) -> None:
    done = handed_over(script().replace("-m snakemake", "-m snakemake2"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the job's script calls Snakemake 0 times")
    assert not Path("asked").exists()


def test_a_group_too_large_to_be_listed_is_refused(programs: Path) -> None:
    done = handed_over(script(output=None))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "lower group-components" in done.stderr


def test_a_refused_submission_fails_and_prints_no_number(programs: Path) -> None:
    install(programs, "sbatch", "echo 'sbatch: error: Invalid account' >&2; exit 1")
    done = handed_over(script())
    assert (done.returncode, done.stdout) == (1, "")
    assert "Invalid account" in done.stderr


@pytest.mark.parametrize("attempt", [1, 2])
def test_old_results_go_before_the_first_attempt_and_stay_before_the_second(programs: Path, attempt: int) -> None:
    Path("results").mkdir()
    Path("results/1.json").touch()
    handed_over(script(attempt))
    assert Path("results/1.json").exists() == (attempt == 2)


def test_an_earlier_job_that_writes_the_same_files_is_cancelled(programs: Path) -> None:
    notes = Path(".snakemake/slurm")
    notes.mkdir(parents=True)
    (notes / "7.json").write_text('["results/1.json", "results/2.json"]')
    (notes / "8.json").write_text('["results/3.json"]')
    handed_over(script())
    assert Path("cancelled").read_text() == "7\n"
    assert {note.stem for note in notes.iterdir()} == {"8", "42"}


def test_half_a_note_that_a_kill_has_left_stops_nothing(programs: Path) -> None:
    notes = Path(".snakemake/slurm")
    notes.mkdir(parents=True)
    (notes / "7.json").write_text('["results/1.j')
    assert handed_over(script()).stdout == "42\n"


def test_old_results_go_even_if_the_first_attempt_can_t_be_handed_over(programs: Path) -> None:
    """The second keeps what it finds: it would take them for those of the first."""
    notes = Path(".snakemake/slurm")
    notes.mkdir(parents=True)
    (notes / "7.json").write_text('["results/1.json"]')
    (programs / "scancel").unlink()
    Path("results").mkdir()
    Path("results/1.json").touch()
    path = os.environ["PATH"]
    os.environ["PATH"] = str(programs)
    try:
        assert handed_over(script()).returncode != 0
    finally:
        os.environ["PATH"] = path
    assert not Path("results/1.json").exists()


def test_without_a_time_of_its_own_a_job_has_the_partition_s() -> None:
    job = JOB | {"resources": {"mem_mb": 6000}}
    assert not [option for option in submit.command(job, 60) if option.startswith("--time")]


# --- asking ------------------------------------------------------------------------------------------------------


def status(number: str = "42") -> tuple[str, str]:
    """What status.sh says of a job, and what it says to the user."""
    done = subprocess.run([PROFILE / "status.sh", number], capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr.strip()


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        *((state, "running") for state in ("PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "CONFIGURING")),
        ("COMPLETED", "success"),
        *((state, "failed") for state in ("FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "NODE_FAIL", "DEADLINE")),
    ],
)
def test_a_state_of_slurm_is_one_of_three(programs: Path, state: str, answer: str) -> None:
    install(programs, "scontrol", f"echo 'JobId=42 JobName=cells JobState={state} Reason=None'")
    assert status()[0] == answer


def test_a_failure_names_the_state_and_the_log(programs: Path) -> None:
    install(programs, "scontrol", "echo 'JobId=42 JobState=OUT_OF_MEMORY Reason=None'")
    assert status()[1] == "SLURM job 42: OUT_OF_MEMORY; its log is .snakemake/slurm/42.log"


FORGOTTEN = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"


@pytest.mark.parametrize(
    ("sacct", "answer"),
    [("echo COMPLETED", "success"), ("echo 'CANCELLED by 0'", "failed"), ("exit 1", "failed")],
    ids=["it succeeded", "it was cancelled", "there is no slurmdbd"],
)
def test_the_accounting_is_asked_for_what_the_controller_has_forgotten(programs: Path, sacct: str, answer: str) -> None:
    install(programs, "scontrol", FORGOTTEN)
    install(programs, "sacct", sacct)
    assert status()[0] == answer


def test_a_controller_out_of_reach_is_waited_for(programs: Path) -> None:
    install(programs, "scontrol", "echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1")
    install(programs, "sacct", "exit 1")
    assert status() == ("running", "")


# --- the profile -------------------------------------------------------------------------------------------------


def test_a_full_group_is_one_that_snakemake_lists() -> None:
    profile = yaml.safe_load((PROFILE / "profile.yaml").read_text())
    assert 2 * profile["group-components"]["cells"] <= 100  # a cell writes two files


def test_every_line_of_the_profile_is_explained() -> None:
    lines = (PROFILE / "profile.yaml").read_text().splitlines()
    for i, line in enumerate(lines):
        if re.match(r"[a-z]", line):
            block = lines[:i][-3:]
            assert any(above.startswith("#") for above in block), line
