"""A job outlives a Snakemake that was killed. It must not: the next run may make the same file from other settings.

Every job knows the process number of its Snakemake (workflow/rules/common.smk). When that process has gone the job
ends, and `workflow.lib.files.atomic` looks once more before a file gets its name.
"""

import os
import threading
import time

from workflow.lib.errors import say

VARIABLE = "STUDY_PID"
MESSAGE = "the Snakemake that started this job was killed: nothing is written, the next run does it"
_SECONDS_BETWEEN_LOOKS = 1.0


def is_orphan() -> bool:
    """Whether a Snakemake started this process and has gone since."""
    pid = os.environ.get(VARIABLE, "")
    if not pid:
        return False
    import psutil  # here: workflow/scripts/warm.py needs the variable only

    try:
        return psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE  # killed, and not yet waited for
    except psutil.NoSuchProcess:
        return True


def watch() -> None:
    """End this process, from a thread of its own, once it is an orphan: it would hold a core or a GPU for nothing."""
    if os.environ.get(VARIABLE):
        threading.Thread(target=_end_as_orphan, name="orphans", daemon=True).start()


def _end_as_orphan() -> None:
    while not is_orphan():
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    say(f"error: {MESSAGE}")
    os._exit(1)
