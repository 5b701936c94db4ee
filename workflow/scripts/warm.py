"""Run a script of this folder in a process that has its imports behind it: `warm SCRIPT IMPORTS… -- ARGUMENTS…`.

Most of a small cell's time is the import of torch, and of a small extraction's that of open_clip. The first of a run's
jobs with a script starts a server that imports these once and forks a process for every job after
(workflow/lib/jobs/forks.py). It ends with the Snakemake that started it, which the Snakefile names in STUDY_PID,
or when it has had nothing to do for a while. Without that, where there is no fork, or with WARM=0, the script runs as
usual.
This program is what stands in for the script meanwhile: its output, its end and its exit status are the script's.
"""

import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from typing import Any

from workflow.lib.jobs.orphans import VARIABLE

PATIENCE = 60.0  # seconds for a server to come up
LONGEST = 100  # bytes that a socket's path may have, nearly
OWN_THREADS = ("features",)  # scripts whose threads are Python's, and compute on one core each


def main() -> None:
    middle = sys.argv.index("--")
    script, imports, arguments = sys.argv[1], sys.argv[2:middle], sys.argv[middle + 1 :]
    try:
        server = _connect(script) if script in OWN_THREADS or _single(arguments) else None
    except OSError:  # no room, no locks, or a file in the folder's place
        server = None
    if server is None or not _begun(server, script, imports, arguments):
        os.execv(sys.executable, [sys.executable, "-m", f"workflow.scripts.{script}", *arguments])
    answer = server.recv(4)
    if not answer:
        sys.exit(f"error: the process that starts jobs has gone, and {script} with it: run it again")
    sys.exit(int(answer))


def _begun(server: socket.socket, script: str, imports: list[str], arguments: list[str]) -> bool:
    """Ask for the script; whether it runs. A server that ends just now may still take a call."""
    request = {
        "script": script,
        "imports": imports,
        "arguments": arguments,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }
    try:
        socket.send_fds(server, [b"?"], [sys.stdout.fileno(), sys.stderr.fileno()])
        server.sendall(json.dumps(request).encode() + b"\n")
        return bool(server.recv(1))
    except OSError:
        return False


def _single(arguments: list[str]) -> bool:
    """Whether the script is to use one thread: the libraries' pools are made when they are imported."""
    return [after for before, after in pairwise(arguments) if before == "--threads"][-1:] == ["1"]


def _connect(script: str) -> socket.socket | None:
    """This run's server of a script, started if it isn't there; None where there can be none."""
    owner = os.environ.get(VARIABLE, "")
    if not owner or os.environ.get("WARM") == "0" or not hasattr(os, "pidfd_open"):
        return None
    folder = os.path.join(tempfile.gettempdir(), f"warm-{os.getuid()}")
    # Of one run on one machine, or in one container of it, one interpreter, one checkout.
    where = [os.uname().nodename, os.readlink("/proc/self/ns/pid"), owner]
    key = json.dumps([*where, sys.executable, os.environ.get("PYTHONPATH"), script])
    path = os.path.join(folder, hashlib.sha256(key.encode()).hexdigest()[:16])
    if len(os.fsencode(path)) > LONGEST or not _private(folder):
        return None
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two scripts at the start of a run start one server
        return _known(path) or _started(path, owner, script)


def _private(folder: str) -> bool:
    """Whether nobody else can put a socket into the folder, which is created."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    status = os.stat(folder, follow_symlinks=False)
    return status.st_uid == os.getuid() and status.st_mode & 0o077 == 0


def _known(path: str) -> socket.socket | None:
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(path)
    except OSError:
        server.close()
        return None
    return server


def _started(path: str, owner: str, script: str) -> socket.socket | None:
    """A new server, or None if it doesn't come up."""
    command = [sys.executable, "-m", "workflow.lib.jobs.forks", path, owner, script]
    # In a session of its own: an interrupt is for the scripts, and the server tells theirs.
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if (server := _known(path)) is not None:
            return server
        time.sleep(0.005)
    return None


if __name__ == "__main__":
    main()
