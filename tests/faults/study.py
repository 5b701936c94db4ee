"""A small study to break: photographs through a tiny model, vectors from elsewhere, three or six cells."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.encoding import tiny
from tests.samples import make_features, without
from tests.studies import photographs, save_vectors
from tests.test_workflow import PLUGIN, SIBLING
from workflow.lib.jobs import orphans

PATIENCE = 500  # seconds that nothing takes, however busy the machine
TIMES = {"seconds", "fit_seconds", "peak_memory_mb", "commit"}


MINE = {"mine": {"features": "{dataset}.npz"}}
TINY = {"tiny": {"model": "tinyclip.json", "weights": "tinyclip.safetensors"}}


def fill(folder: Path, **changes: Any) -> Path:
    """The study's file and all that it names; `changes` of its keys. Returns the folder.

    Without other changes it is a study of vectors, which takes seconds. `backbones=TINY` or `TINY | MINE` extracts.
    """
    folder.mkdir(parents=True)
    if "backbones" in changes:
        photographs(folder / "photographs")
        tiny.make(folder)
    save_vectors(folder / "photos.npz", make_features(classes=2))
    (folder / "means.py").write_text(PLUGIN)
    (folder / "averages.py").write_text(SIBLING)
    config = {
        "study": "faults",
        "datasets": {"photos": {"source": "folder", "path": "photographs"}},
        "backbones": MINE,
        "shots": [1, 2],
        "seeds": 2,
        "plugins": ["means.py"],
        "methods": {"zero_shot": None, "means": None},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config | changes))
    return folder


class Run:
    """A Snakemake at work on a study, in a session of its own with all that it starts."""

    def __init__(
        self,
        snakefile: Path,
        folder: Path,
        *options: str,
        study: str = "study.yaml",
        cores: str = "--cores=2",
        **env: str,
    ) -> None:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), *cores.split(), *options]
        self.output = folder / f"{time.monotonic_ns()}.out"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "--configfile", study],
                cwd=folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
            )
        self.begun = psutil.Process(self.process.pid).create_time()

    def text(self) -> str:
        return self.output.read_text(errors="replace")

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def jobs(self, script: str) -> list[psutil.Process]:
        """The Python processes of this run, or left of it, that run a script of the workflow."""
        return [process for process in self._all() if _runs(process, script)]

    def job(self, script: str) -> psutil.Process | None:
        """The first such process to be seen, or none if the run ends without one."""
        found: list[psutil.Process] = []
        until(lambda: found.extend(self.jobs(script)) or found or self.process.poll() is not None)
        return found[0] if found else None

    def end(self) -> None:
        """Nothing of this run is left."""
        self.process.kill()
        self.process.wait(PATIENCE)
        until(lambda: not [kill(process) for process in self._all()])

    def _all(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.create_time() < self.begun:  # which is remembered: the look at all others takes a while
                    continue
                known = process.environ().get(orphans.VARIABLE) == str(self.process.pid)
                ours = known or os.getsid(process.pid) == self.process.pid
            except (OSError, psutil.Error):  # gone meanwhile
                continue
            if ours and alive(process):
                yield process


def _runs(process: psutil.Process, script: str) -> bool:
    """Whether the process runs the script, or was forked for it, or is a server that forks cells ("forks")."""
    try:
        server, own = ["-m", "workflow.lib.jobs.forks"], process.cmdline()[1:3]
        if own != server:
            return own == ["-m", f"workflow.scripts.{script}"]
        of, parent = process.cmdline()[-1], process.parent()
        forked = parent is not None and parent.cmdline()[1:3] == server
        return script == of if forked else (script, of) == ("forks", "evaluate")
    except psutil.Error:
        return False


def alive(process: psutil.Process) -> bool:
    """Whether it is there, and not merely waiting to be reaped."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    """SIGKILL, whether it is still there or not."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


@contextmanager
def running(snakefile: Path, folder: Path, *options: str, **more: str) -> Iterator[Run]:
    """A run, of which nothing is left in the end."""
    run = Run(snakefile, folder, *options, **more)
    try:
        yield run
    finally:
        run.end()


def finish(snakefile: Path, folder: Path, *options: str, **more: str) -> str:
    """Run to the end, which must be a good one; returns what was printed."""
    with running(snakefile, folder, *options, **more) as run:
        assert run.wait() == 0, run.text()
        return run.text()


def fail(snakefile: Path, folder: Path, *options: str, **more: str) -> str:
    """Run to the end, which must be a failure, but not one of ours; returns what was printed."""
    with running(snakefile, folder, *options, **more) as run:
        assert run.wait() == 1, run.text()
        return run.text()


def until(true: Callable[[], Any]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.03)  # a look at every process of the machine costs as much


# --- what there is in the end ----------------------------------------------------------------------------------------


def outcome(folder: Path, results: str = "results/faults", features: str = "features") -> dict[str, Any]:
    """All that a run makes, by path; of what holds times, the rest."""
    made = {
        **{f"features/{path.relative_to(folder / features)}": path for path in _files(folder / features)},
        **{f"results/{path.relative_to(folder / results)}": path for path in _files(folder / results)},
    }
    return {name: _content(path) for name, path in made.items()}


# What is made of the predictions, or after the tables; and the supports, which nothing needs.
LATER = re.compile(r"results/(figures|supports|report\.html|tables/(.*\.)?(recommendation|confusions|label_errors)\.)")


def up_to_tables(made: dict[str, Any]) -> dict[str, Any]:
    """Of the outcome of a whole run, what the target `tables` makes: half of the time goes into the rest."""
    return {name: content for name, content in made.items() if not LATER.match(name)}


def _files(root: Path) -> list[Path]:
    """Without logs, and without the tables of a run that is not over: what they have depends on when it was stopped."""
    found = [path for path in sorted(root.rglob("*")) if path.suffix != ".log" and "partial_tables" not in path.parts]
    return [path for path in found if path.is_file()]


def _content(path: Path) -> Any:
    if path.name.endswith(".recommendation.json"):
        return [line for line in path.read_text().splitlines() if " s a fit" not in line]
    if path.suffix == ".json":
        return without(json.loads(path.read_text()), TIMES)
    if path.name == "results.csv":
        return [line for line in csv.DictReader(io.StringIO(path.read_text())) if line["metric"] not in TIMES]
    if path.name == "report.html":
        return None  # it shows times throughout
    if path.name == "recommendation.md":
        return [line for line in path.read_text().splitlines() if " s a fit" not in line]
    return path.read_bytes()


def strays(folder: Path) -> list[Path]:
    """Temporary files that somebody has left."""
    found = (path for part in ("results", "features", "data") for path in (folder / part).rglob(".*"))
    return [path for path in found if ".snakemake" not in path.parts and path.name != ".snakemake_timestamp"]
