"""The server behind workflow/scripts/warm.py: imports what a script needs once, and forks a process for each call.

A script gets the output, the folder, the environment and the arguments that it was called with; its exit status goes
back. If its caller goes, it is interrupted. If the owner of the server goes, everything ends. A server that nobody
calls ends too, for what it has imported takes memory.
"""

import ctypes
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1  # linux/prctl.h

# By script, what each of its calls imports.
LIGHT = {
    "evaluate": (
        "workflow.lib.evaluation.cell",
        "workflow.lib.evaluation.records",
        "workflow.lib.files",
        "workflow.lib.jobs.devices",
        "psutil",
    ),
    "features": ("workflow.lib.jobs.devices", "psutil"),
}
# Of the further imports that a script asks for: nothing of a plugin's, which may start threads or look at a GPU.
HARMLESS = ("workflow", "sklearn")
PATIENCE = 5.0  # seconds that interrupted scripts have to clean up
IDLE = 60.0  # seconds without a script, after which a server ends


@dataclass
class Script:
    """A script that runs: its caller's socket, its process, and a file that is readable when it has ended."""

    caller: socket.socket
    process: int
    ended: int


class Server:
    """Forks on request until its owner ends, or there is nothing to do."""

    def __init__(self, path: str, owner: int) -> None:
        self._events = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1000)
        self._scripts: list[Script] = []
        self.over = False  # whether its owner has ended
        self._when(self._listener.fileno(), self._accept)
        self._owner = os.pidfd_open(owner)
        self._when(self._owner, self._stop)

    def run(self) -> None:
        """Serve until the owner ends; scripts that still run then have a moment to clean up."""
        while not self.over:
            if not self._react(None if self._scripts else IDLE) and not self._scripts:
                return
        for script in self._scripts:
            os.kill(script.process, signal.SIGINT)
        end = time.monotonic() + PATIENCE
        while self._scripts and time.monotonic() < end:
            self._react(end - time.monotonic())

    def _react(self, seconds: float | None) -> bool:
        """Do what there is to do within these seconds; whether there was something."""
        found = self._events.select(seconds)
        for key, _ in found:
            key.data()
        return bool(found)

    def _when(self, file: int, react: Callable[[], None]) -> None:
        self._events.register(file, selectors.EVENT_READ, react)

    def _stop(self) -> None:
        self.over = True
        self._events.unregister(self._owner)  # it stays readable

    def _accept(self) -> None:
        caller, _ = self._listener.accept()
        caller.settimeout(PATIENCE)  # nobody keeps the others waiting
        files: list[int] = []
        try:
            _, files, _, _ = socket.recv_fds(caller, 1, 2)
            request = json.loads(caller.makefile("rb").readline())
            for name in request["imports"]:
                if name.split(".")[0] in HARMLESS:
                    with suppress(Exception):  # the script will meet it, and say so
                        import_module(name)
            process = os.fork()
            if process == 0:
                _become(request, files, self._listener)
            script = Script(caller, process, os.pidfd_open(process))
        except (OSError, ValueError):  # it has gone already; or there can be no further process, and it does without
            caller.close()
            return
        finally:
            for file in files:
                os.close(file)
        self._scripts.append(script)
        self._when(script.ended, lambda: self._ended(script))
        self._when(caller.fileno(), lambda: self._left(script))
        with suppress(OSError):  # whoever has gone already is noticed by that
            caller.sendall(b"+")  # it runs

    def _ended(self, script: Script) -> None:
        """The script has ended: its caller is told, if it is still there."""
        _, status = os.waitpid(script.process, 0)
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):
            script.caller.sendall(str(code if code >= 0 else 128 - code).encode())
        self._scripts.remove(script)
        self._events.unregister(script.ended)
        os.close(script.ended)
        self._close(script.caller)

    def _left(self, script: Script) -> None:
        """The caller has gone: the script is interrupted, and reaped when it has ended."""
        if script in self._scripts:
            os.kill(script.process, signal.SIGINT)
            self._close(script.caller)

    def _close(self, caller: socket.socket) -> None:
        if caller.fileno() >= 0:
            self._events.unregister(caller)
            caller.close()


def _become(request: dict[str, Any], files: Sequence[int], listener: socket.socket) -> NoReturn:
    """Be the script, in a process that was forked for it."""
    code = 1
    try:
        # Whatever a shell starts with `&` is started with the interrupt ignored, and so is all that it starts in turn.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        listener.close()
        for file, standard in zip(files, (1, 2), strict=True):
            os.dup2(file, standard)
        # With the server gone nobody would notice that the caller goes.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv[1:] = request["arguments"]
        runpy.run_module(f"workflow.scripts.{request['script']}", run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:  # nobody reads it any more
            code = code or 1
        finally:  # whatever happens, it never goes on as the server
            os._exit(code)


def main() -> None:
    path, owner, script = sys.argv[1:]
    with suppress(FileNotFoundError):
        os.unlink(path)  # left by a server that was killed: whoever starts one has made sure that none answers
    over = True
    try:
        server = Server(path, int(owner))
        for name in LIGHT[script]:
            import_module(name)
        server.run()
        over = server.over
    finally:
        for file in (path, *([f"{path}.lock"] if over else [])):  # somebody may be starting the next one
            with suppress(FileNotFoundError):
                os.unlink(file)


if __name__ == "__main__":
    main()
