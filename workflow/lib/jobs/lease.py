"""One GPU for one process: leased before torch looks at any, and free again when the process ends, however it ends.

Snakemake hands out a count of GPUs and never an index. Which GPUs there are, the first of these decides:

1. SLURM, in a job of it (SLURM_JOB_ID): CUDA_VISIBLE_DEVICES, where that is unset SLURM_STEP_GPUS, or SLURM_JOB_GPUS.
   Its assignment is trusted: nvidia-smi is not asked, and only processes of the same SLURM job, such as the cells of a
   group, lease against each other. CUDA_VISIBLE_DEVICES may count from 0 in every step; SLURM_STEP_GPUS and
   SLURM_JOB_GPUS, where they are as many, tell the GPUs apart.
2. CUDA_VISIBLE_DEVICES: indices or UUIDs, handed on as they are. Empty, -1 or anything else that CUDA would not take
   ends the list.
3. What nvidia-smi lists, by UUID.

A lease is a file lock that the kernel frees with the process. The locks lie in a folder of the user's below
`tempfile.gettempdir()`: TMPDIR must be a folder of the node, and the same for all runs of a user that are to share its
GPUs. Users don't see each other's locks.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from workflow.lib.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

VISIBLE = "CUDA_VISIBLE_DEVICES"
LIST = ("nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")
PATIENCE = 60  # seconds that nvidia-smi may take: without persistence mode it wakes every GPU
POLL = 0.25  # seconds between two looks at the locks: cells are as short as a second
REMIND = 60  # seconds between two lines about waiting


@dataclass(frozen=True)
class Device:
    """A GPU: its name in CUDA_VISIBLE_DEVICES, and the key that its locks are called by."""

    name: str
    key: str


@dataclass(frozen=True)
class _Held:
    device: Device
    lock: "BaseFileLock"


_held: _Held | None = None  # for the life of the process: a lock that nobody refers to is released


def devices() -> list[Device]:
    """The GPUs that this process may lease from. Raises UserError where nvidia-smi does not answer."""
    if os.environ.get("SLURM_JOB_ID") and (assigned := _assigned()) is not None:
        return assigned
    if VISIBLE not in os.environ:
        return [Device(uuid, uuid) for uuid in _listed().values()]
    names = _names(os.environ[VISIBLE])
    known = _listed() if names else {}
    by_key = {_uuid(name, known): name for name in reversed(names)}
    return [Device(name, key) for key, name in reversed(by_key.items())]


def _assigned() -> list[Device] | None:
    """The GPUs that SLURM gave this step; None where it gave out none, as on a cluster that does not count them."""
    numbers = next((os.environ[name] for name in ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS") if os.environ.get(name)), None)
    visible = os.environ.get(VISIBLE, numbers)
    if visible is None:
        return None
    names, keys = _names(visible), _names(numbers or "")
    keys = keys if len(keys) == len(names) else names
    return [Device(name, f"slurm-{os.environ['SLURM_JOB_ID']}-{key}") for name, key in zip(names, keys, strict=True)]


def _names(text: str) -> list[str]:
    """The entries of a list of GPUs up to the first that is neither an index nor a UUID, as CUDA reads it."""
    names = (name.strip() for name in text.split(","))
    return list(takewhile(lambda name: re.match(r"\d+$|(GPU|MIG)-", name, re.IGNORECASE), names))


def _listed() -> dict[str, str]:
    """UUIDs by index, from nvidia-smi; none where it is not installed, finds no GPU or fails."""
    if shutil.which(LIST[0]) is None:
        return {}
    try:
        done = subprocess.run(LIST, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        reason = f"nvidia-smi has not answered in {PATIENCE} seconds: a GPU of this machine needs attention"
        raise UserError(f"{reason}; with {VISIBLE}= in front of the command the CPU computes") from None
    return dict(re.findall(r"^(\d+), *(\S+)$", done.stdout, re.MULTILINE))


def _uuid(name: str, listed: Mapping[str, str]) -> str:
    """The UUID for an index or for the beginning of a UUID, so that both lock the same; else the name itself."""
    beginnings = (uuid for uuid in listed.values() if uuid.lower().startswith(name.lower()))
    return listed.get(name) or next(beginnings, name)


def take(slots: int, log: Callable[[str], None]) -> str | None:
    """Lease a GPU with fewer than `slots` jobs on it, the emptiest first, and set CUDA_VISIBLE_DEVICES to its name.

    Waits while all are taken, and says so in `log`. Returns the name, or None where there is no GPU. Where runs with
    different `slots` share a machine, a GPU has at most the largest of them.
    """
    global _held
    if _held is None:
        found = devices()
        if not found:
            return None
        _held = _wait(found, slots, log)
        os.environ[VISIBLE] = _held.device.name
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # indices as nvidia-smi has them
        log(f"leased GPU {_held.device.name}")
    return _held.device.name


def _wait(found: Sequence[Device], slots: int, log: Callable[[str], None]) -> _Held:
    folder, said = _folder(), float("-inf")
    while (held := _emptiest(found, slots, folder)) is None:
        if time.monotonic() - said >= REMIND:
            log(_taken(found, slots))
            said = time.monotonic()
        time.sleep(POLL)
    return held


def _taken(found: Sequence[Device], slots: int) -> str:
    names = ", ".join(device.name for device in found)
    help = f"snakemake --resources gpu={len(found) * slots} starts no more GPU jobs than there is room for"
    return f"waiting for a GPU: all are taken ({names}; jobs on each: {slots}); {help}"


def _emptiest(found: Sequence[Device], slots: int, folder: Path) -> _Held | None:
    """The lease of a GPU with the most free slots; None where none has any."""
    from filelock import FileLock

    # One process chooses at a time: while it counts it holds every free slot, and to others all would seem taken.
    with FileLock(folder / "choosing.lock"):
        free = {device: _free(folder, device, slots) for device in found}
        best = max(found, key=lambda device: len(free[device]))
        kept = free[best].pop() if free[best] else None
        for lock in (lock for locks in free.values() for lock in locks):
            lock.release()
    return None if kept is None else _Held(best, kept)


def _free(folder: Path, device: Device, slots: int) -> list["BaseFileLock"]:
    """Locks, acquired, on the free slots of a GPU."""
    from filelock import FileLock, Timeout

    acquired: list[BaseFileLock] = []
    for slot in range(slots):
        lock = FileLock(folder / f"{re.sub('[^A-Za-z0-9-]', '_', device.key)}.{slot}.lock")
        with suppress(Timeout):
            lock.acquire(blocking=False)
            acquired.append(lock)
    return acquired


def _folder() -> Path:
    """The folder of the locks, made if need be: the first of a few names that is not somebody else's."""
    names = [f"clip-adapter-bench-{os.getuid()}{more}" for more in ("", "-a", "-b", "-c")]
    for path in (Path(tempfile.gettempdir(), name) for name in names):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        if path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid():
            return path
    where = Path(tempfile.gettempdir(), names[0])
    raise UserError(f"{where}: no folder of yours, so no place for the locks on GPUs; set TMPDIR to a folder that is")
