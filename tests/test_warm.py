"""Scripts that are forked from a server do, say and end as scripts that are started; nothing outlives the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests import studies
from tests.encoding import tiny
from tests.test_determinism import without_times
from workflow.lib.data.index import Index, write_index
from workflow.lib.features import npz, store

ROOT = Path(__file__).parents[1]
SPLITS = ("train", "test")
EXTRACTION = "workflow.lib.encoding.extraction"
ENGINE = "workflow.lib.engine.training"
SPEC = {
    "study": "warm",
    "dataset": "made",
    "backbone": "mine",
    "shots": "2",
    "seeds": 2,
    "report": "test",
    "select": "last",
}
TRAINED = {"batch_norm": True, "lr": 1e-3, "weight_decay": 0.01, "epochs": 3, "batch_size": 8}
ENDLESS = """
import time
from methods import Method, hookimpl

class Endless(Method):
    name = "endless"
    def fit(self, task, replicas):
        print("begun", flush=True)
        while True:
            time.sleep(0.05)

@hookimpl
def register_methods():
    return [Endless]
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="forks on Linux alone")


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands in for Snakemake."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for sockets, whose paths may not be long."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A folder with a features file and a plugin."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"classnames": np.array(["a", "b", "c"]), "text_x": rng.normal(size=(3, 8))}
    for split in ("train", "test"):
        arrays |= {f"{split}_x": rng.normal(size=(30, 8)), f"{split}_y": np.repeat(np.arange(3), 10)}
    np.savez(tmp_path / "made.npz", **arrays)
    store.write(tmp_path / "made.safetensors", npz.read_npz(tmp_path / "made.npz"))
    (tmp_path / "endless.py").write_text(ENDLESS)
    return tmp_path


class Caller:
    """Calls `evaluate` as the rule does."""

    def __init__(self, at: Path, temporary: Path, owner: int) -> None:
        self._at = at
        self._environment = {k: v for k, v in os.environ.items() if k != "WARM"}
        self._environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "STUDY_PID": str(owner)}

    def start(
        self,
        method: str,
        name: str = "out",
        *more: str,
        imports: str = ENGINE,
        **environment: str,
    ) -> subprocess.Popen[str]:
        params = TRAINED if method == "linear_probe" else {}
        spec = SPEC | {"label": method, "method": method, "variants": [{"variant": "-", "params": params}]}
        command = ["evaluate", *imports.split(), "--"]
        command += ["--spec", json.dumps(spec), "--features", "made.safetensors", "--threads", "1"]
        command += ["--metrics", f"{name}.json", "--predictions", f"{name}.npz", *more]
        return self.call(*command, **environment)

    def call(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "workflow.scripts.warm", *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self._at, env=self._environment | environment, **pipes)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture
def caller(at: Path, temporary: Path, owner: subprocess.Popen[bytes]) -> Caller:
    return Caller(at, temporary, owner.pid)


def servers(temporary: Path) -> list[psutil.Process]:
    """The servers whose socket lies in the folder, and what they have forked."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "workflow.lib.jobs.forks" in command and any(str(temporary) in part for part in command):
            found.append(process)
    return found


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited for a minute"
        time.sleep(0.02)


def test_a_forked_script_gives_what_a_started_one_gives(caller: Caller, at: Path, temporary: Path) -> None:
    assert caller.run("linear_probe", "warm")[0] == 0
    assert len(servers(temporary)) == 1
    assert caller.run("linear_probe", "cold", WARM="0")[0] == 0
    warm, cold = (without_times(json.loads((at / f"{name}.json").read_text())) for name in ("warm", "cold"))
    assert warm == cold
    assert (at / "warm.npz").read_bytes() == (at / "cold.npz").read_bytes()


def test_one_server_for_all_scripts_of_a_run(caller: Caller, temporary: Path) -> None:
    callers = [caller.start("zero_shot", f"out{i}") for i in range(4)]
    assert [process.wait(120) for process in callers] == [0] * 4
    assert len(servers(temporary)) == 1


def test_extractions_have_a_server_of_their_own_and_give_what_a_started_one_gives(
    caller: Caller, at: Path, temporary: Path
) -> None:
    """Its threads are Python's, whatever the libraries were told when they were imported."""
    assert caller.run("zero_shot")[0] == 0
    assert len(servers(temporary)) == 1
    spec, photos = tiny.make(at), studies.photographs(at / "photos")
    files = {split: sorted(path.relative_to(photos) for path in Path(photos, split).rglob("*.png")) for split in SPLITS}
    splits = {split: [(path.as_posix(), int("noon" in path.parts)) for path in files[split]] for split in SPLITS}
    write_index(at / "index.json", Index(("night", "noon"), Path(photos), splits))
    arguments = [
        "--dataset",
        "sky",
        "--index",
        "index.json",
        "--templates",
        '["a photo of a {}."]',
        "--backbone",
        "tiny",
    ]
    arguments += ["--spec", json.dumps(spec), "--threads", "2"]
    begun = ["features", EXTRACTION, "--", *arguments]
    for name, warm in (("first", {}), ("again", {}), ("cold", {"WARM": "0"})):
        process = caller.call(*begun, "--out", f"{name}.safetensors", **warm)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert len(servers(temporary)) == 2
    made = {name: (at / f"{name}.safetensors").read_bytes() for name in ("first", "again", "cold")}
    assert made["first"] == made["again"] == made["cold"]


def test_a_server_without_anything_to_do_ends_and_the_next_script_starts_one(
    caller: Caller, temporary: Path, owner: subprocess.Popen[bytes]
) -> None:
    path = temporary / "socket"
    told = "from workflow.lib.jobs import forks; forks.IDLE = 0.2; forks.main()"
    server = subprocess.Popen([sys.executable, "-c", told, str(path), str(owner.pid), "features"], cwd=ROOT)
    assert server.wait(60) == 0
    assert not path.exists()
    assert owner.poll() is None


def test_an_error_is_the_script_s_own(caller: Caller, at: Path) -> None:
    (at / "made.safetensors").write_bytes(b"no features")
    warm, cold = caller.run("zero_shot"), caller.run("zero_shot", WARM="0")
    assert warm == cold
    assert warm[0] == 1
    assert "made.safetensors" in warm[2]


def test_a_script_ends_with_its_caller(caller: Caller, temporary: Path) -> None:
    process = caller.start("endless", "out", "--plugin", "endless.py")
    assert first_line(process) == "begun\n"
    (script,) = [child for one in servers(temporary) for child in one.children()]
    process.kill()
    wait_for(lambda: not script.is_running())
    assert caller.run("zero_shot")[0] == 0


def test_a_script_ends_with_its_caller_where_interrupts_are_ignored(caller: Caller, temporary: Path) -> None:
    """As in whatever a script starts with `&`: the server is started so, and what it forks would be too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = caller.start("endless", "out", "--plugin", "endless.py")
    finally:
        signal.signal(signal.SIGINT, before)
    assert first_line(process) == "begun\n"
    (script,) = [child for one in servers(temporary) for child in one.children()]
    process.kill()
    wait_for(lambda: not script.is_running())


def test_everything_ends_with_the_run(caller: Caller, temporary: Path, owner: subprocess.Popen[bytes]) -> None:
    process = caller.start("endless", "out", "--plugin", "endless.py")
    assert first_line(process) == "begun\n"
    owner.kill()
    owner.wait()
    assert process.wait(60) != 0
    wait_for(lambda: not servers(temporary))
    assert not list(temporary.glob("warm-*/*"))


def test_how_a_cell_ended_is_its_caller_s_exit_status(caller: Caller, temporary: Path) -> None:
    """As a shell has it, which makes a line of it: workflow/scripts/last_words.py."""
    process = caller.start("endless", "out", "--plugin", "endless.py")
    assert first_line(process) == "begun\n"
    (server,) = [one for one in servers(temporary) if one.children()]
    server.children()[0].kill()
    assert process.wait(60) == 128 + signal.SIGKILL


def test_an_import_that_fails_is_the_script_s_own_and_harms_no_other(caller: Caller, temporary: Path) -> None:
    process = caller.start("endless", "out", "--plugin", "endless.py")
    assert first_line(process) == "begun\n"
    (server,) = [one for one in servers(temporary) if one.children()]
    assert caller.run("zero_shot", "other", imports="workflow.lib.no_such_module sklearn.linear_modl")[0] == 0
    assert server.is_running()
    assert process.poll() is None
    process.kill()


def test_a_script_that_nobody_listens_to_ends_as_itself(caller: Caller, temporary: Path) -> None:
    """Its last words find no reader: that may not take it back into the server's code."""
    process = caller.start("endless", "out", "--plugin", "endless.py", PYTHONUNBUFFERED="")
    assert first_line(process) == "begun\n"
    (server,) = [one for one in servers(temporary) if one.children()]
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    for script in server.children():
        script.send_signal(signal.SIGINT)
    process.wait(60)
    wait_for(lambda: not server.children())
    assert caller.run("zero_shot")[0] == 0
    assert servers(temporary) == [server]


def test_where_the_folder_is_a_file_the_script_is_started(caller: Caller, temporary: Path) -> None:
    (temporary / f"warm-{os.getuid()}").write_text("")
    assert caller.run("zero_shot")[0] == 0
    assert not servers(temporary)


def test_a_server_that_takes_a_call_and_ends_is_none(caller: Caller, temporary: Path) -> None:
    assert caller.run("zero_shot")[0] == 0
    (server,) = servers(temporary)
    server.suspend()  # it is called, as the system takes calls for it, and doesn't answer
    process = caller.start("zero_shot")
    time.sleep(0.5)
    server.kill()
    assert process.wait(60) == 0


def test_a_server_that_was_killed_is_replaced(caller: Caller, temporary: Path) -> None:
    assert caller.run("zero_shot")[0] == 0
    servers(temporary)[0].kill()
    assert caller.run("zero_shot")[0] == 0


@pytest.mark.parametrize("why", ["several threads", "no owner", "a folder of somebody else's"])
def test_where_there_can_be_no_server_the_script_is_started(why: str, caller: Caller, temporary: Path) -> None:
    more = ["--threads", "2"] if why == "several threads" else []
    if why == "a folder of somebody else's":
        (temporary / f"warm-{os.getuid()}").mkdir(mode=0o777)
        (temporary / f"warm-{os.getuid()}").chmod(0o777)
    environment = {"STUDY_PID": ""} if why == "no owner" else {}
    assert caller.run("zero_shot", "out", *more, **environment)[0] == 0
    assert not servers(temporary)
