"""What SLURM costs: a study here, then through a real SLURM of two nodes on this machine, with the profile's groups.

Seconds are those of all processors together, of everything that runs on the machine, SLURM's daemons included: let it
do nothing else. The results of both runs are compared to the last digit. Needs SLURM (`tests/install.sh slurm`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

from tests.samples import without
from tests.slurm import cluster as clusters
from workflow.lib.errors import UserError
from workflow.lib.jobs.entry import run

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "workflow" / "profiles" / "slurm"
MEASURED = {"seconds", "fit_seconds", "provenance"}  # in metrics: not what was computed, but how
# Forty cells that take no time to compute.
TRIVIAL: dict[str, Any] = {
    "study": "trivial",
    "datasets": {"digits": {"source": "digits"}},
    "backbones": {
        "nano": {
            name: f"workflow/assets/nano/model.{end}" for name, end in (("model", "json"), ("weights", "safetensors"))
        }
    },
    "shots": [1, 2, 3, 4, 5, 6, 7, 8],
    "seeds": 3,
    "methods": {f"gda_{i}": {"method": "gda"} for i in range(5)},
}


class Cost(NamedTuple):
    """Seconds of all processors, and by the clock."""

    cores: float
    clock: float


def main() -> None:
    arguments = _arguments()
    if missing := [name for name in clusters.PROGRAMS if shutil.which(name) is None]:
        raise UserError(
            f"no {', '.join(missing)} on the PATH: `tests/install.sh slurm` installs SLURM on Debian, as root"
        )
    study = yaml.safe_load(arguments.study.read_text()) if arguments.study else TRIVIAL
    for backbone in study.get("backbones", {}).values():
        for key in ("model", "weights"):
            if str(backbone.get(key, "")).startswith("workflow/"):
                backbone[key] = str(ROOT / backbone[key])
    with tempfile.TemporaryDirectory() as folder, clusters.running() as cluster:
        here = Path(folder) / "here"
        costs = {"here": _cost(here, study, os.environ, "--cores", "2")}
        for size in arguments.groups:
            profile = ["--workflow-profile", str(PROFILE), "--group-components", f"cells={size}", "supports=10"]
            there = Path(folder) / str(size)
            costs[f"SLURM, groups of {size}"] = _cost(there, study, cluster.environment, *profile)
            _compare(here, there)
        for line in report(costs, len(list(_metrics(here)))):
            print(line, flush=True)


def report(costs: Mapping[str, Cost], cells: int) -> Iterator[str]:
    """A line for each run, with what it took more than the first."""
    base = costs["here"]
    yield f"{cells} cells; results through SLURM are equal to the last digit"
    yield f"{'':24}{'by the clock':>14}{'of a core':>12}{'more':>10}{'a cell':>10}{'':>8}"
    for name, cost in costs.items():
        more = cost.cores - base.cores
        extra = f"{more:9.1f}s{more / cells:9.2f}s{more / base.cores:8.0%}" if more else ""
        yield f"{name:24}{cost.clock:13.1f}s{cost.cores:11.1f}s{extra}"


def _cost(folder: Path, study: Mapping[str, Any], environment: Mapping[str, str], *options: str) -> Cost:
    """Run the study in a folder, features first: they are not what is measured."""
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(dict(study)))
    _snakemake(folder, environment, "--cores", "2", "--until", "features")
    clock, cores = time.perf_counter(), _busy()
    _snakemake(folder, environment, *options)
    return Cost(_busy() - cores, time.perf_counter() - clock)


def _snakemake(folder: Path, environment: Mapping[str, str], *options: str) -> None:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *options]
    done = subprocess.run(
        [*command, "--configfile", "study.yaml"], cwd=folder, env=dict(environment), capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(f"{' '.join(options)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _busy() -> float:
    """Seconds that the processors of this machine have worked."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _metrics(folder: Path) -> Iterator[Path]:
    return (path.relative_to(folder) for path in sorted(folder.glob("results/*/metrics/**/*.json")))


def _compare(here: Path, there: Path) -> None:
    for path in _metrics(here):
        ours, theirs = (without(json.loads((folder / path).read_text()), MEASURED) for folder in (here, there))
        if ours != theirs:
            raise UserError(f"{path}: SLURM's result is another")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slurm", description=__doc__)
    parser.add_argument("--study", type=Path, help="a study file (default: forty trivial cells)")
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 1], help="cells in a submission (default: 10 1)")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
