"""Say why a cell failed, where the cell can't: as the last line of its log, and for Snakemake's output.

A plugin may take the process with it, without a word: by a crash in native code, or by leaving on its own. The rule
calls this after every failure, with the last line that the cell has printed.
"""

import argparse
import signal
import sys
from pathlib import Path

from workflow.lib.errors import say, shortened
from workflow.lib.jobs.memory import REMEDY

SIGNALS = 128  # a shell's exit status of what a signal has ended, less the number of the signal


def main() -> None:
    arguments = _arguments()
    say(arguments.last if arguments.last.startswith("error: ") else said(arguments), sys.stdout)


def said(arguments: argparse.Namespace) -> str:
    """The line, written into the log where that can be: on a full disk, or a read-only one, it can't."""
    line = shortened(f"error: {arguments.place}: {reason(arguments.status, arguments.last)}; see {arguments.log}")
    try:
        with arguments.log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")
    except OSError as error:
        # The cell was done, then: it is the log that failed, for `tee` comes after it.
        return f"error: {arguments.log}: {error.strerror}" if arguments.metrics.exists() else line
    return line


def reason(status: int, last: str) -> str:
    """What an exit status says of a process that did not get to say it itself."""
    names = [one.name for one in signal.Signals if one == status - SIGNALS]
    if names == ["SIGKILL"]:
        return f"killed, which is what the system does when memory runs out: {REMEDY}"
    if names:
        return f"the process crashed ({names[0]}) in the code of the method or of a library"
    said = f", after '{last}'" if last.strip() else ""
    number = f", with exit status {status}" if status > 1 else ""  # 1 is also that there is no result after status 0
    return f"the process ended before it was done{number}{said}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", required=True, help="the cell")
    parser.add_argument("--status", required=True, type=int, help="its exit status, as a shell has it")
    parser.add_argument("--last", required=True, help="the last line that it printed")
    parser.add_argument("--log", required=True, type=Path, help="its log")
    parser.add_argument("--metrics", required=True, type=Path, help="what it was to make")
    return parser.parse_args()


if __name__ == "__main__":
    main()
