"""How long this process has lived, by clocks that nobody sets: the time of day may jump, in either direction."""

import os
import time
from pathlib import Path

_STAT = Path("/proc/self/stat")
_STARTED = 19  # the field `starttime`, counted from the one after the program's name


def _age() -> float:
    """Seconds since the system started this process: the interpreter's own start counts too."""
    if _STAT.exists():
        ticks = int(_STAT.read_text().rpartition(")")[2].split()[_STARTED])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    import psutil

    return max(0.0, time.time() - psutil.Process().create_time())


_AGE, _NOW = _age(), time.perf_counter()


def alive() -> float:
    """Seconds since this process was started."""
    return _AGE + time.perf_counter() - _NOW
