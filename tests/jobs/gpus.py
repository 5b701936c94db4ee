"""Stand-in GPUs: an nvidia-smi that lists them, jobs that lease them, and how many had one at the same time."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORGET = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
# A job: leases, holds for some seconds, and writes down which GPU it had, from when to when.
HOLD = """
import os, sys, time
from workflow.lib.jobs import lease
record, seconds, slots = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
assert "torch" not in sys.modules
name = lease.take(slots, lambda line: print(line, flush=True))
start = time.monotonic()
assert os.environ["CUDA_VISIBLE_DEVICES"] == name
print("holding", name, flush=True)
time.sleep(seconds)
with open(record, "a") as file:
    file.write(f"{name} {start} {time.monotonic()}\\n")
"""


@dataclass(frozen=True)
class Interval:
    """A time for which a job had a GPU."""

    gpu: str
    start: float
    end: float


def install(folder: Path, script: str) -> Path:
    """An nvidia-smi in a folder, to be put on the PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return folder


def listing(*uuids: str) -> str:
    """The script of an nvidia-smi that lists these GPUs."""
    return "\n".join(f'echo "{index}, {uuid}"' for index, uuid in enumerate(uuids))


def environment(folder: Path, *uuids: str, **variables: str) -> dict[str, str]:
    """Ours, but with these GPUs, with locks below `folder`, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if name not in FORGET}
    path = f"{install(folder / 'bin', listing(*uuids))}{os.pathsep}{os.environ['PATH']}"
    (folder / "tmp").mkdir(exist_ok=True)
    return {**kept, "PATH": path, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT), **variables}


def hold(record: Path, environ: Mapping[str, str], seconds: float = 0.1, slots: int = 1) -> "subprocess.Popen[str]":
    """Start a job."""
    command = [sys.executable, "-c", HOLD, str(record), str(seconds), str(slots)]
    return subprocess.Popen(command, env=dict(environ), stdout=subprocess.PIPE, text=True)


def says(job: "subprocess.Popen[str]", word: str) -> str:
    """The next line of a job that begins with `word`; the lines before it are passed over."""
    assert job.stdout is not None
    return next(line.strip() for line in job.stdout if line.startswith(word))


def read(record: Path) -> list[Interval]:
    """What the jobs have written down."""
    lines = (line.split() for line in record.read_text().splitlines())
    return [Interval(gpu, float(start), float(end)) for gpu, start, end in lines]


def at_once(intervals: Iterable[Interval]) -> dict[str, int]:
    """For each GPU, the largest number of jobs that had it at the same time."""
    steps = Counter[tuple[str, float, int]]()
    for one in intervals:
        steps.update([(one.gpu, one.start, 1), (one.gpu, one.end, -1)])
    # Of an end and a start at the same moment the end counts first.
    ordered = sorted(steps.elements(), key=lambda step: (step[0], step[1], step[2]))
    gpus = {gpu for gpu, _, _ in ordered}
    return {gpu: max(accumulate(step for name, _, step in ordered if name == gpu)) for gpu in gpus}
