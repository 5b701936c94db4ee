"""Several GPUs, as Snakemake's jobs share them out; and a method that hangs. The GPUs are stand-ins: only leased."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.jobs import gpus
from tests.studies import ROOT, of_vectors

pytestmark = pytest.mark.slow

TWO = ("GPU-aaaa-1", "GPU-bbbb-2")
COUNTED = {"without": [], "with": ["--resources", "gpu=2"]}
# A rule as the study's are, with a job that does nothing but lease a GPU.
RULES = """
rule all:
    input: expand("done/{{job}}", job=range(24))

rule job:
    output: touch("done/{{job}}")
    resources: gpu=1
    shell: "{python} {program} {record} 0.1 1"
"""
STUDY = """\
study: shared
datasets: {shapes: {source: features}}
backbones: {mine: {features: "vectors/{dataset}.npz"}}
shots: [1, 2, 3, 4, 5, 6]
seeds: 1
plugins: [plugin.py]
methods:
  KIND: {}
"""
PLUGIN = '''\
import collections
import itertools
import os
import time

from methods import Method, hookimpl


class Recorder(Method):
    """Writes down which GPU it saw, from when to when."""

    name = "recorder"
    gpu = True

    def classifier(self, task, replica):
        start = time.monotonic()
        time.sleep(0.5)
        with open("record", "a") as file:
            file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {start} {time.monotonic()}\\n")
        return lambda queries: queries[:, : task.classes]


class Hanging(Method):
    """Hangs in native code with the interpreter's lock in its hand, where there are 6 shots."""

    name = "hanging"

    def classifier(self, task, replica):
        if task.shots == "6":
            collections.deque(itertools.repeat(None), maxlen=0)
        return lambda queries: queries[:, : task.classes]


@hookimpl
def register_methods():
    return [Recorder, Hanging]
'''


def snakemake(
    folder: Path, snakefile: Path, *options: str, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--directory", str(folder)]
    command += ["--cores", "8", *options]
    return subprocess.run(
        command, cwd=folder, env=dict(environ), capture_output=True, text=True, timeout=500, check=False
    )


def study(folder: Path, method: str) -> Path:
    """A study of one of the plugin's methods: six cells."""
    return of_vectors(folder, STUDY.replace("KIND", method), {"plugin.py": PLUGIN}, ["shapes"]) / "study.yaml"


def cells(method: str) -> list[str]:
    """The files of the six."""
    return [f"results/shared/metrics/shapes/mine/{method}/{shots}.json" for shots in range(1, 7)]


@pytest.mark.parametrize("options", COUNTED.values(), ids=COUNTED)
def test_of_24_jobs_on_8_cores_no_two_have_a_gpu_at_the_same_time(tmp_path: Path, options: list[str]) -> None:
    program, record = tmp_path / "hold.py", tmp_path / "record"
    program.write_text(gpus.HOLD)
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(RULES.format(python=sys.executable, program=program, record=record))
    done = snakemake(tmp_path, snakefile, *options, environ=gpus.environment(tmp_path, *TWO))
    assert done.returncode == 0, done.stdout + done.stderr
    intervals = gpus.read(record)
    assert len(intervals) == 24
    assert gpus.at_once(intervals) == dict.fromkeys(TWO, 1)


def test_the_cells_of_a_study_share_out_the_gpus(tmp_path: Path) -> None:
    """Without a count for Snakemake, and although torch can't use these GPUs: what is said of that is said once."""
    config = study(tmp_path / "study", "recorder")
    options = [*cells("recorder"), "--configfile", str(config)]
    done = snakemake(config.parent, ROOT / "Snakefile", *options, environ=gpus.environment(tmp_path, *TWO))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    intervals = gpus.read(config.parent / "record")
    assert len(intervals) == 6
    assert gpus.at_once(intervals) == dict.fromkeys(TWO, 1)
    assert said.count("warning: 2 GPUs here (GPU-aaaa-1, GPU-bbbb-2), but torch can't use them (") == 1
    logs = [path.read_text() for path in (config.parent / "results/shared/logs/shapes/mine/recorder").glob("*.log")]
    assert [log.count("warning: torch can't use GPU GPU-") for log in logs] == [1] * 6


def test_a_run_without_a_gpu_says_so_once(tmp_path: Path) -> None:
    config = study(tmp_path / "study", "zero_shot")
    environ = gpus.environment(tmp_path, *TWO, CUDA_VISIBLE_DEVICES="")
    done = snakemake(config.parent, ROOT / "Snakefile", "tables", "--configfile", str(config), environ=environ)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("No GPU here: every job computes on the CPU.") == said.count("GPU") == 1


def test_a_cell_that_hangs_ends_with_one_line_and_no_file_and_the_others_are_computed(tmp_path: Path) -> None:
    config = study(tmp_path / "study", "hanging")
    options = [*cells("hanging"), "--configfile", str(config), "--config", "cell_minutes=0.1", "--keep-going"]
    done = snakemake(config.parent, ROOT / "Snakefile", *options, environ=gpus.environment(tmp_path))
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("error: ")] == [
        "error: shapes, mine: hanging, shots 6: stopped after 0.1 minutes;"
        " if it needs longer, raise 'cell_minutes' in the study file"
    ]
    for kind in ("metrics", "predictions"):
        files = [path for path in (config.parent / "results/shared" / kind).rglob("*") if path.is_file()]
        assert {path.stem for path in files} == {"1", "2", "3", "4", "5"}
    assert "in classifier" in (config.parent / "results/shared/logs/shapes/mine/hanging/6.log").read_text()


def test_what_the_study_says_of_sharing_and_of_time_reaches_every_job(tmp_path: Path) -> None:
    config = study(tmp_path / "study", "recorder")
    options = ["-n", "-p", "--configfile", str(config), "--config", "jobs_per_gpu=3", "cell_minutes=1.5"]
    done = snakemake(config.parent, ROOT / "Snakefile", *options, environ=gpus.environment(tmp_path, *TWO))
    commands = [line for line in (done.stdout + done.stderr).splitlines() if "--jobs-per-gpu 3" in line]
    assert len([line for line in commands if "workflow.scripts.features" in line]) == 1
    assert len([line for line in commands if "warm evaluate" in line and "--minutes 1.5 " in line]) == 6
