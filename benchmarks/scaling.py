"""How much memory, time and reading the jobs of a study take where the features are ImageNet's size.

Features of 1.3 million images to train with and 50 000 to test with, 512 dimensions, 1000 classes, are made up shard by
shard, as no model is at hand to extract them; from there on the real jobs run: shards are gathered, supports written
out, cells evaluated. Each job's peak memory is printed; one above the limit ends in an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.lib.data import index
from workflow.lib.data.index import Index
from workflow.lib.encoding import shards
from workflow.lib.encoding.shards import Part, Shard
from workflow.lib.errors import UserError
from workflow.lib.jobs import entry

BATCH = 64
CELLS: dict[str, dict[str, Any]] = {
    "zero_shot": {},
    "gda": {},
    "tip_adapter": {},
    "logistic_regression": {"scale": "standard", "max_iter": 20},
    "linear_probe": {"epochs": 5},
}


def main() -> None:
    """Make the shards, then run one job after the other."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="scaling-") as folder:
        jobs = Jobs(Path(folder), arguments)
        print(f"{arguments.train} + {arguments.test} images x {arguments.dim}, {arguments.classes} classes", flush=True)
        # Of a process of its own: a job's peak begins at the memory of the one that starts it.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            parts = pool.submit(make_shards, Path(folder), arguments).result()
        jobs.gather(parts)
        jobs.supports()
        for method in arguments.methods:
            jobs.cell(method, CELLS.get(method, {}))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--train", type=int, default=1_300_000, help="images to train with")
    parser.add_argument("--test", type=int, default=50_000, help="images to test with")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--limit", type=int, default=4000, help="MB that no job may exceed (default: 4000)")
    parser.add_argument("--folder", type=Path, help="where 6 GB can lie for the while (default: the system's choice)")
    parser.add_argument("--methods", nargs="+", default=list(CELLS), help="the cells to run")
    return parser.parse_args()


@dataclass(frozen=True)
class MadeUp:
    """Embeddings around the centres of their classes, made when rows of them are taken."""

    centres: NDArray[np.float32]
    labels: NDArray[np.int64]
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """As of an array."""
        return len(self.labels), self.centres.shape[1]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        own = self.labels[rows]
        noise = np.random.default_rng(rows.start).standard_normal((len(own), self.shape[1]), np.float32)
        return self.centres[own] + 3 * noise


def make_shards(folder: Path, arguments: argparse.Namespace) -> list[Path]:
    """The index, and what the shards of an extraction would have written."""
    rng = np.random.default_rng(0)
    sizes = {"train": arguments.train, "test": arguments.test}
    labels = {name: rng.permutation(np.arange(size) % arguments.classes) for name, size in sizes.items()}
    splits = {
        name: [(f"{name}/n{label:08}/{row:08}.JPEG", label) for row, label in enumerate(own.tolist())]
        for name, own in labels.items()
    }
    names = tuple(f"class {k}" for k in range(arguments.classes))
    index.write_index(folder / "index.json", Index(names, folder, splits))
    centres = rng.standard_normal((arguments.classes, arguments.dim), np.float32)
    everything = np.concatenate(list(labels.values()))
    paths = []
    for number in range(1, arguments.shards + 1):
        rows = Shard(number, arguments.shards).rows(len(everything), BATCH)
        made = Part(rows.start, MadeUp(centres, everything[rows.start : rows.stop]), logit_scale=100.0, metadata={})
        text = centres[:, None] + rng.standard_normal((arguments.classes, 1, arguments.dim), np.float32)
        paths.append(folder / f"{number}-of-{arguments.shards}.safetensors")
        shards.write(paths[-1], replace(made, text=text) if number == 1 else made)
    return paths


class Jobs:
    """The jobs of a study, each started as Snakemake starts it."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder, self.arguments = folder, arguments
        self.features = folder / "features.safetensors"

    def gather(self, parts: Sequence[Path]) -> None:
        """Several files to one."""
        self.run("gather", ["--index", self.folder / "index.json", "--out", self.features, *parts])
        print(f"  the features file has {self.features.stat().st_size / 1e9:.2f} GB", flush=True)

    def supports(self) -> None:
        """Write out which images each seed draws."""
        shots = ["--shots", self.arguments.shots, "--seeds", self.arguments.seeds]
        out = self.folder / "supports.json"
        self.run("supports", ["--dataset", "made_up", "--features", self.features, *shots, "--out", out])

    def cell(self, method: str, changes: dict[str, Any]) -> None:
        """Draw the supports, fit, and score the test split."""
        from methods.tools.registry import load

        entry = load().methods[method].method
        params = entry.defaults(changes) | changes
        spec = {
            "study": "scaling",
            "dataset": "made_up",
            "backbone": "none",
            "label": method,
            "method": method,
            "shots": str(self.arguments.shots) if entry.learns else "0",
            "seeds": self.arguments.seeds if entry.learns else 1,
            "report": "test",
            "select": "last",
            "variants": [{"variant": "-", "params": params}],
        }
        out = [self.folder / f"{method}.json", self.folder / f"{method}.npz"]
        options = [
            "--spec",
            json.dumps(spec),
            "--features",
            self.features,
            "--metrics",
            out[0],
            "--predictions",
            out[1],
        ]
        self.run("evaluate", options, f"cell {method}")
        record = json.loads(out[0].read_text())
        accuracy, seconds = record["variants"][0]["seeds"][0]["metrics"]["accuracy"], record["seconds"]
        times = ", ".join(f"{name} {seconds[name]:.1f} s" for name in ("read", "fit", "score"))
        print(f"  accuracy {accuracy:.2%}; {times}", flush=True)

    def run(self, script: str, options: Sequence[object], name: str = "") -> None:
        """Run a script of the workflow; print its time and its peak memory. Raises `UserError` above the limit."""
        command = [sys.executable, "-m", f"workflow.scripts.{script}", *map(str, options)]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds, peak = time.perf_counter() - start, usage.ru_maxrss / 1e6 * (1 if sys.platform == "darwin" else 1024)
        if process.returncode:
            raise UserError(f"{name or script} failed with status {process.returncode}")
        print(f"{name or script}: {seconds:.1f} s, at most {peak:.0f} MB", flush=True)
        if peak > self.arguments.limit:
            raise UserError(f"{name or script} took {peak:.0f} MB; at most {self.arguments.limit} are allowed")


if __name__ == "__main__":
    entry.run(main)
