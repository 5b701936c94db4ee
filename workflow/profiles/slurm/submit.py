"""Hand one job or group of Snakemake's to sbatch, and print SLURM's number for it.

The one argument is the job's script; a line in it says as JSON what the job asks for and what it writes. Run from the
working directory of the study. What SLURM and the job say goes to .snakemake/slurm/<number>.log.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MARK = "# properties = "
LOGS = Path(".snakemake/slurm")
# Resource -> option of sbatch. The names are those of snakemake-executor-plugin-slurm.
OPTIONS = {
    "slurm_partition": "--partition",
    "slurm_account": "--account",
    "qos": "--qos",
    "constraint": "--constraint",
    "mem_mb": "--mem",
}


def main(script: Path) -> int:
    text = script.read_text()
    job = properties(text)
    if job["output"] is None:
        sys.exit("error: more than 100 files in one group; lower group-components in the profile")
    LOGS.mkdir(parents=True, exist_ok=True)
    try:
        cancel_earlier(job["output"])
    finally:  # the second attempt keeps what it finds, so it may find nothing old
        if attempt(text) == 1:
            remove_old(job["output"])
    script.write_text(edited(text, job["resources"].get("gpu", 0)))
    limit = partition_limit(job["resources"].get("slurm_partition", ""))
    done = subprocess.run([*command(job, limit), str(script)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        number = done.stdout.strip().split(";")[0]  # <number>;<cluster> where there are several clusters
        (LOGS / f"{number}.json").write_text(json.dumps(job["output"]))
        print(number)
    return done.returncode


def properties(script: str) -> dict[str, Any]:
    """What Snakemake says about the job in its script."""
    line = next(line for line in script.splitlines() if line.startswith(MARK))
    return json.loads(line.removeprefix(MARK))


def attempt(script: str) -> int:
    """1 at first, 2 when the job has failed once."""
    found = re.search(r" --attempt (\d+) ", script)
    return int(found[1]) if found else 1


def edited(script: str, gpus: int) -> str:
    """The script with what Snakemake does not hand on to the Snakemake that runs the cells of a group.

    One failed cell stops no other. No more GPU cells at a time than the group has GPUs. And not --force: old results
    are removed before the first attempt, so what is there is done, where SLURM starts the job again or it failed.
    """
    limits = f"--keep-going --resources gpu={gpus}" if gpus else "--keep-going"
    call, count = re.subn(r" -m snakemake (?=.* --mode )", f" -m snakemake {limits} ", script)
    if count != 1:
        sys.exit(f"error: the job's script calls Snakemake {count} times; this version of Snakemake is not known here")
    return re.sub(r" --force(?= )", "", call)


def command(job: dict[str, Any], limit: int | None) -> list[str]:
    """The call of sbatch for a job in a partition that allows `limit` minutes, None for any number."""
    wanted = job["resources"]
    options = [f"{option}={wanted[name]}" for name, option in OPTIONS.items() if wanted.get(name)]
    if minutes := wanted.get("runtime"):
        options.append(f"--time={min(minutes, limit or minutes)}")  # more than the limit would wait for ever
    if wanted.get("gpu"):
        options.append("--gres=" + ":".join(["gpu", *filter(None, [wanted.get("gpu_model")]), str(wanted["gpu"])]))
    return [
        *("sbatch", "--parsable", "--nodes=1", "--ntasks=1", f"--cpus-per-task={job['threads']}"),
        # A job whose node went down starts again elsewhere.
        "--requeue",
        f"--job-name={job.get('rule') or job['groupid']}",
        f"--output={LOGS}/%j.log",
        *options,
        *str(wanted.get("slurm_extra", "")).split(),
    ]


def partition_limit(partition: str) -> int | None:
    """The minutes that a partition, "" for the default one, allows a job; None where there is no limit."""
    listed = subprocess.run(["sinfo", "--noheader", "--format=%P %l"], stdout=subprocess.PIPE, text=True, check=False)
    for line in listed.stdout.splitlines():
        name, limit = line.split()
        if name.rstrip("*") == partition or (name.endswith("*") and not partition):
            return in_minutes(limit)
    return None


def in_minutes(limit: str) -> int | None:
    """SLURM's `[days-]hours:minutes:seconds` or `minutes:seconds`; None for `infinite`."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):\d+", limit)
    if found is None:
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return (24 * days + hours) * 60 + minutes


def cancel_earlier(outputs: Iterable[str]) -> None:
    """End the jobs that still write these files: their Snakemake was killed and could not cancel them.

    A living Snakemake holds a lock on what its jobs write, so no other can have come here.
    """
    written = set(outputs)
    for note in LOGS.glob("*.json"):
        try:
            noted = json.loads(note.read_text())
        except (FileNotFoundError, ValueError):  # the job has just ended well; or a kill has left half a note
            continue
        if written & set(noted):
            subprocess.run(["scancel", note.stem], stderr=subprocess.DEVNULL, check=False)
            _wait_for_end(note.stem)
            note.unlink(missing_ok=True)


def _wait_for_end(number: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        listed = subprocess.run(
            ["squeue", "--noheader", f"--jobs={number}"], capture_output=True, text=True, check=False
        )
        if not listed.stdout.strip():
            return
        time.sleep(0.5)


def remove_old(outputs: Iterable[str]) -> None:
    """Results of an earlier run, as Snakemake removes them where it runs a job itself."""
    for path in outputs:
        Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
