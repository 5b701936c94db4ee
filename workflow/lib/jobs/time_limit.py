"""A limit on the time that a piece of work may take, which holds when native code hangs.

Python's signal handlers and threads run only when the interpreter gets to them, and native code need never let it. So
a process of its own watches. At the limit it has `faulthandler` write to stderr where the work hangs, adds one line as
the last, and `faulthandler`'s timer, which needs no interpreter either, ends the worker with exit status 1.
"""

import faulthandler
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

EXCEEDED = 1  # exit status of the watcher, and of the process that it watches
GRACE = 10.0  # seconds from the limit to the end, for the last words: on a busy machine they may come late
STDERR = 2


@contextmanager
def at_most(seconds: float, message: str) -> Iterator[None]:
    """End this process with `error: message` on stderr and exit status 1 if the block takes longer; 0: no limit.

    A block that ends in the short while between these words and the end, well or with an error, raises UserError.
    """
    if not seconds:
        yield
        return
    from workflow.lib.errors import UserError  # not above: the watcher is this file alone

    faulthandler.register(signal.SIGUSR1, file=STDERR)
    watcher = _watcher(seconds, message)
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            exceeded = _end(watcher)
            faulthandler.unregister(signal.SIGUSR1)
            if exceeded:
                raise UserError(message)


def _watcher(seconds: float, message: str) -> subprocess.Popen[bytes]:
    """Isolated and without site packages: it starts in milliseconds, inherits no lock, and no Ctrl-C reaches it."""
    command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(seconds), message]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _end(watcher: "subprocess.Popen[bytes]") -> bool:
    """End the watcher by closing what it listens to. Returns whether it had spoken."""
    assert watcher.stdin is not None
    watcher.stdin.close()
    return watcher.wait() == EXCEEDED


def watch(pid: int, seconds: float, message: str) -> int:
    """Wait for the end of the process `pid`, our parent, or for the limit, and return the exit status."""
    if _closed_within(seconds) or os.getppid() != pid:
        return 0
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGUSR1)
        time.sleep(0.5)
        sys.stderr.write(f"error: {message}\n")  # whole: another process may write to it too
        sys.stderr.flush()
        if not _closed_within(2 * GRACE) and os.getppid() == pid:
            os.kill(pid, signal.SIGKILL)
    return EXCEEDED


def _closed_within(seconds: float) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    sys.exit(watch(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]))
