"""Which device a job computes on: leased without torch, then used with it.

A GPU that is there and that torch can't use, with a driver too old for it for instance, does not stop a study: the CPU
computes the same, the start of the run and the log of every such job say so and why, and each record names the device
that computed it. `--device cuda` makes it an error.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from workflow.lib.errors import UserError, one_line
from workflow.lib.jobs import lease

Log = Callable[[str], None]

ROOT = Path(__file__).parents[3]


def choose(asked: str, slots: int, log: Log) -> str:
    """ "cuda" or "cpu": lease a GPU if there is one, and see that torch can use it.

    `asked` is "auto", "cuda" or "cpu"; `slots` the number of jobs that may share a GPU. Raises as `use` does.
    """
    return use(reserve(asked, slots, log), asked, log)


def reserve(asked: str, slots: int, log: Log) -> str | None:
    """The name of the GPU that this process has leased, for which it may have waited; None for the CPU. No torch."""
    return None if asked == "cpu" else lease.take(slots, log)


def use(gpu: str | None, asked: str, log: Log) -> str:
    """ "cuda" where torch can use the leased `gpu`, else "cpu". Raises UserError for "cuda" where torch can't use it.

    torch is imported only where there is a GPU at all: that import is most of a small cell's time.
    """
    if asked == "cpu" or (gpu is None and asked == "auto"):
        return "cpu"
    reason = unusable()
    if reason and asked == "cuda":
        raise UserError(f"device cuda is asked for, but torch can't use a GPU here ({reason}); use auto or cpu")
    if reason:
        log(f"warning: torch can't use GPU {gpu} ({reason}): the CPU computes this")
    return "cpu" if reason else "cuda"


def unusable() -> str:
    """Why torch can't use the GPUs that this process sees; empty where it can."""
    import torch

    if torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch leaves its types out
    except (RuntimeError, AssertionError) as error:
        return one_line(error)
    return "torch finds none"


def announcement(slots: int) -> str:
    """What the GPU jobs of a run on this machine will compute on, in one line."""
    try:
        found = lease.devices()
    except UserError as error:
        return f"warning: {error}"
    if not found:
        return "No GPU here: every job computes on the CPU."
    names = f"{len(found)} GPU{'s' if len(found) > 1 else ''} here ({', '.join(device.name for device in found)})"
    if reason := _tried():
        wanted = f"{lease.VISIBLE}= in front of the command says that this is meant, and then no job waits for a GPU"
        return f"warning: {names}, but torch can't use them ({reason}): every job computes on the CPU. {wanted}."
    return f"{names}: {slots} job{'s' if slots > 1 else ''} at a time on each."


def _tried() -> str:
    """`unusable` as a job would find it."""
    trial = "from workflow.lib import devices; print(devices.unusable())"
    command = [sys.executable, "-W", "ignore", "-c", trial]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return one_line(done.stderr.strip().split("\n")[-1] if done.returncode else done.stdout)
