"""A limit on time: it ends what hangs, whatever it hangs in, and leaves the rest alone."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from workflow.lib.errors import UserError
from workflow.lib.jobs import time_limit

ROOT = Path(__file__).parents[2]
HANGS = {
    "asleep": "time.sleep(1000)",
    "busy": "while True: pass",
    "native, the interpreter's lock held": "collections.deque(itertools.repeat(None), maxlen=0)",
    "native, without the lock": "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)",
    "deaf to signals": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(1000)",
    "catching everything": "\n    while True:\n        try: time.sleep(1000)\n        except BaseException: pass",
}
PROGRAM = """
import collections, hashlib, itertools, signal, time
from workflow.lib.jobs.time_limit import at_most
print("started", flush=True)
with at_most({seconds}, "too long"):
    {work}
print("after", flush=True)
"""


def start(work: str, seconds: float) -> "subprocess.Popen[str]":
    program = PROGRAM.format(work=work, seconds=seconds)
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def hanging() -> Iterator[dict[str, "subprocess.Popen[str]"]]:
    """All of them side by side: each takes the seconds between the last words and the end."""
    started = {name: start(work, 0.5) for name, work in HANGS.items()}
    yield started
    for process in started.values():
        process.kill()


@pytest.mark.parametrize("name", HANGS)
def test_what_hangs_ends_with_one_line_as_the_last(hanging: dict[str, "subprocess.Popen[str]"], name: str) -> None:
    stdout, stderr = hanging[name].communicate(timeout=120)
    assert hanging[name].returncode == 1
    assert stdout == "started\n"
    assert stderr.splitlines()[-1] == "error: too long"
    assert stderr.count("too long") == 1


def test_the_log_says_where_it_hung(hanging: dict[str, "subprocess.Popen[str]"]) -> None:
    process = start("time.sleep(1000)", 0.5)
    _, stderr = process.communicate(timeout=120)
    assert 'File "<string>", line 6 in <module>' in stderr


@pytest.mark.parametrize("seconds", [0, 1000])
def test_what_ends_in_time_goes_on(seconds: float) -> None:
    process = start("pass", seconds)
    assert process.communicate(timeout=120) == ("started\nafter\n", "")
    assert process.returncode == 0


def outlast(capfd: pytest.CaptureFixture[str], error: type[Exception] | None = None) -> None:
    """Go on until the last words are spoken, then end, with an error or without."""
    said = ""
    while "too long" not in said:
        time.sleep(0.1)
        said += capfd.readouterr().err
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, KeyError])
def test_what_ends_after_the_last_words_has_failed_by_them(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: type[Exception] | None
) -> None:
    """In the log stands that it was stopped, so nothing may be written; and the signal may be what woke it."""
    monkeypatch.setattr(time_limit, "GRACE", 60)
    with pytest.raises(UserError, match=r"^too long$"), time_limit.at_most(0.2, "too long"):
        outlast(capfd, error)


def test_an_error_in_the_block_stays_what_it_is() -> None:
    with pytest.raises(KeyError), time_limit.at_most(1000, "too long"):
        raise KeyError


def test_the_watcher_ends_with_a_killed_process() -> None:
    process = start("print('inside', flush=True); time.sleep(1000)", 1000)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["started\n", "inside\n"]
    (watcher,) = psutil.Process(process.pid).children()
    process.kill()
    process.communicate()
    psutil.wait_procs([watcher], timeout=120)
    assert not watcher.is_running()
