"""A cell that can't say why it failed is given a last line, in its log and in Snakemake's output."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.studies import ROOT, of_vectors, snakemake

STUDY = """\
study: trial
datasets: {shapes: {source: features}}
backbones: {mine: {features: "vectors/{dataset}.npz"}}
shots: [1]
seeds: 1
plugins: [ends.py]
methods:
"""
PLUGIN = """
from methods import Method, hookimpl
METHODS = []

@hookimpl
def register_methods():
    return METHODS
"""
METHOD = """
class {name}(Method):
    name = "{name}"
    def classifier(self, task, replica):
        {code}

METHODS.append({name})
"""
ENDS = {
    "leaves": ("import os; os._exit(3)", "the process ended before it was done, with exit status 3; see "),
    "leaves as if done": ("import os; os._exit(0)", "the process ended before it was done; see "),
    "is killed": (
        "import os; os.kill(os.getpid(), 9)",
        "killed, which is what the system does when memory runs out: run fewer cells at a time (--cores), or on a "
        "cluster give each more (mem_mb); see ",
    ),
    "crashes": (
        "import ctypes; ctypes.string_at(0)",
        "the process crashed (SIGSEGV) in the code of the method or of a library; see ",
    ),
}


def say(tmp_path: Path, status: int, last: str, log: str = "cell.log") -> str:
    command = [sys.executable, "-m", "workflow.scripts.last_words", "--status", str(status), f"--last={last}"]
    command += ["--log", str(tmp_path / log), "--metrics", str(tmp_path / "1.json")]
    command += ["--place", "planes, nano: mine, shots 1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_an_error_is_repeated_and_not_written_twice(tmp_path: Path) -> None:
    assert say(tmp_path, 1, "error: --odd words") == "error: --odd words\n"
    assert not (tmp_path / "cell.log").exists()


@pytest.mark.parametrize(
    ("status", "last", "words"),
    [
        (139, "Extension modules: numpy", "the process crashed (SIGSEGV) in the code of the method or of a library"),
        (137, "", "killed, which is what the system does when memory runs out: run fewer cells"),
        (7, "--so far", "the process ended before it was done, with exit status 7, after '--so far'"),
        (1, "", "the process ended before it was done; see "),
        (255, "", "the process ended before it was done, with exit status 255; see "),
    ],
)
def test_what_left_without_a_reason_is_given_one(tmp_path: Path, status: int, last: str, words: str) -> None:
    (tmp_path / "cell.log").write_text("begun\n")
    line = say(tmp_path, status, last)
    assert line.startswith(f"error: planes, nano: mine, shots 1: {words}")
    assert line.endswith(f"; see {tmp_path}/cell.log\n")
    assert (tmp_path / "cell.log").read_text() == f"begun\n{line}"


def test_where_the_log_can_t_be_written_it_is_printed(tmp_path: Path) -> None:
    assert "SIGABRT" in say(tmp_path, 134, "", log="no/folder/cell.log")


def test_where_the_cell_was_done_it_is_the_log_that_failed(tmp_path: Path) -> None:
    (tmp_path / "1.json").touch()
    line = say(tmp_path, 1, "done: 4 trainings", log="no/folder/cell.log")
    assert line == f"error: {tmp_path}/no/folder/cell.log: No such file or directory\n"


@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.parametrize("standard", ["stdout", "stderr"])
def test_a_line_is_one_write_so_that_no_other_process_writes_into_it(unbuffered: str, standard: str) -> None:
    code = f"import sys; from workflow.lib.errors import say; say('error: all of it', sys.{standard})"
    end, start = os.pipe2(os.O_DIRECT)  # a pipe of packets: a read gets what one write has written
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    streams: dict[str, Any] = {standard: start}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, **streams)
    os.close(start)
    with os.fdopen(end, "rb", buffering=0) as pipe:
        assert pipe.read(4096) == b"error: all of it\n"


@pytest.mark.slow
@pytest.mark.parametrize("warm", ["1", "0"], ids=["warm", "cold"])
def test_plugins_that_take_their_process_with_them_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: str
) -> None:
    monkeypatch.setenv("WARM", warm)
    names = {what.replace(" ", "_"): what for what in ENDS}
    plugin = PLUGIN + "".join(METHOD.format(name=name, code=ENDS[what][0]) for name, what in names.items())
    plugin += METHOD.format(name="exits", code="import sys; sys.exit(0)")
    study = STUDY + "".join(f"  {name}: {{}}\n" for name in (*names, "exits"))
    folder = of_vectors(tmp_path / "study", study, {"ends.py": plugin}, ["shapes"])
    metrics, logs = (folder / "results/trial" / part / "shapes/mine" for part in ("metrics", "logs"))
    cells = [str((metrics / name / "1.json").relative_to(folder)) for name in (*names, "exits")]
    done = snakemake(folder, *cells, "--keep-going")
    assert done.returncode == 1, done.stdout + done.stderr
    found = set(re.findall(r"^error: .*", done.stdout + done.stderr, re.MULTILINE))
    assert len(found) == len(names) + 1
    for name, what in names.items():
        *before, line = (logs / name / "1.log").read_text().splitlines()
        assert line in found
        assert line.startswith(f"error: shapes, mine: {name}, shots 1: {ENDS[what][1]}")
        assert ("ends.py" in "".join(before)) == ("SIGSEGV" in line)  # where it crashed
    assert (
        f"error: method 'exits' (ends.py, {folder}/ends.py) failed: SystemExit: 0 at variant '-', seed 0, "
        "the first without a result"
    ) in found
    assert not list(metrics.rglob("*.json"))
