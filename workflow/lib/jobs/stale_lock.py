"""Snakemake's lock on a working directory outlives a Snakemake that was killed, and then stops the next one.

The lock is a file that says nothing of its owner. So every run also holds a lock of the kernel's, which goes with its
process: where nobody holds that one, Snakemake's own is a leftover.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

_held: list[int] = []  # open for as long as this process lives


def clear(folder: Path) -> bool:
    """Hold `folder` (.snakemake) as a running Snakemake; whether the lock of a killed one was there and was removed.

    Where another run is alive, or the file system knows no locks, nothing is removed.
    """
    try:
        folder.mkdir(exist_ok=True)
        _held.append(os.open(folder / "running", os.O_RDWR | os.O_CREAT, 0o666))
        return _alone(_held[-1]) and _remove(folder / "locks")
    except OSError:  # read-only, or without locks: as if this module were not there
        return False


def _alone(handle: int) -> bool:
    """Whether no other process holds the file; from now on this one does, beside others that may come."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        fcntl.flock(handle, fcntl.LOCK_SH)
        return False


def _remove(locks: Path) -> bool:
    left = any(locks.glob("*.lock"))
    if left:
        shutil.rmtree(locks)
        locks.mkdir()
    fcntl.flock(_held[-1], fcntl.LOCK_SH)
    return left
