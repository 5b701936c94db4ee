"""A study of seconds whose cells say where and when they ran, and the ways to run it. No cell imports a library."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.slurm.cluster import Cluster
from tests.studies import ROOT, of_vectors

PROFILE = ROOT / "workflow" / "profiles" / "slurm"
STUDY = """\
study: trial
datasets: {a: {source: features}, b: {source: features}}
backbones: {mine: {features: "vectors/{dataset}.npz"}}
shots: [1, 2, 4, all]
seeds: 2
plugins: [watched.py]
methods:
  zero_shot: {}
  watched: {}
"""
PLUGIN = '''\
"""The nearest class mean, on a GPU as far as the workflow knows; each fit takes a while and says where it ran."""

import os
import time

from methods import Method, hookimpl


class Watched(Method):
    """The nearest class mean."""

    name = "watched"
    gpu = True

    def classifier(self, task, replica):
        begin = time.time()
        time.sleep(0.4)
        node, device = os.environ.get("SLURMD_NODENAME", ""), os.environ.get("CUDA_VISIBLE_DEVICES", "")
        print(f"watched: {node} {device} {begin} {time.time()}", flush=True)
        support = task.supports[replica.seed]
        means = support.one_hot(task.classes).T @ support.x
        return lambda queries: queries @ means.T


@hookimpl
def register_methods():
    return [Watched]
'''
# Where it is enough that something runs: one method on one dataset, without tables.
CELLS = [f"results/trial/metrics/a/mine/watched/{shots}.json" for shots in ("1", "2", "4", "all")]
SLOW = PLUGIN.replace("sleep(0.4)", "sleep(3)")  # time enough to interfere
SLOW_ONCE = PLUGIN.replace(
    "        time.sleep(0.4)",
    """        if not os.path.exists("tried"):
            open("tried", "w").close()
            time.sleep(600)""",
)


@dataclass(frozen=True)
class Overdue:
    """A study in a folder, and the Snakemake that runs it."""

    folder: Path
    running: subprocess.Popen[str]


@dataclass(frozen=True)
class Fit:
    """One fit of a watched cell: on which node and device, from when to when."""

    node: str
    device: str
    begin: float
    end: float


def fill(folder: Path, plugin: str = PLUGIN) -> Path:
    """A folder with the study, its plugin and its vectors."""
    return of_vectors(folder, STUDY, {"watched.py": plugin}, "ab")


def start(
    folder: Path, *options: str, cluster: Cluster | None = None, targets: Sequence[str] = ("tables",)
) -> subprocess.Popen[str]:
    """Snakemake on the study in a folder, here or through SLURM; what it says goes to snakemake.log there."""
    where = ["--cores", "2"] if cluster is None else ["--workflow-profile", str(PROFILE), *QUICK]
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), *where, *options]
    with (folder / "snakemake.log").open("a") as log:
        return subprocess.Popen(
            [*command, "--configfile", "study.yaml"],
            cwd=folder,
            env=os.environ if cluster is None else cluster.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


# A quick machine and a file system of its own: no waiting, and small groups, so that there are some to share out.
QUICK = ["--seconds-between-status-checks", "1", "--latency-wait", "10", "--group-components", "cells=2"]


def finish(running: subprocess.Popen[str], folder: Path, seconds: float = 500) -> str:
    """What Snakemake said, after it has ended well."""
    try:
        code = running.wait(seconds)
    finally:
        kill(running)
    said = (folder / "snakemake.log").read_text()
    assert code == 0, said
    return said


def kill(running: subprocess.Popen[str], how: signal.Signals = signal.SIGKILL) -> None:
    """Snakemake itself, if it still runs; SLURM's jobs are not its children."""
    if running.poll() is None:
        running.send_signal(how)
        running.wait(300)  # it takes its leave of SLURM, which a busy machine takes long for


def results(folder: Path) -> dict[str, Any]:
    """Every metrics file without times and provenance, and every table without times, by their paths."""
    root = folder / "results" / "trial"
    cells = {str(path.relative_to(root)): _record(path) for path in sorted(root.rglob("metrics/**/*.json"))}
    tables = {
        str(path.relative_to(root)): path.read_text().splitlines() for path in sorted((root / "tables").iterdir())
    }
    tables["tables/results.csv"] = [line for line in tables["tables/results.csv"] if "fit_seconds" not in line]
    return cells | tables


def records(folder: Path) -> dict[str, Any]:
    """Every metrics file of CELLS that is there, without times and provenance, by its path."""
    return {name: _record(folder / name) for name in CELLS if (folder / name).exists()}


def _record(path: Path) -> Any:
    record = json.loads(path.read_text())
    del record["seconds"], record["provenance"]
    for seed in (seed for variant in record["variants"] for seed in variant["seeds"]):
        del seed["metrics"]["fit_seconds"]
    return record


def fits(folder: Path) -> list[Fit]:
    """What the watched cells said in their logs."""
    logs = "".join(path.read_text() for path in (folder / "results/trial/logs").rglob("watched/*.log"))
    found = re.findall(r"^watched: (\S*) (\S*) (\S+) (\S+)$", logs, re.MULTILINE)
    return [Fit(node, device, float(begin), float(end)) for node, device, begin, end in found]
