"""Errors that are the user's to mend, and how every script ends on them: one line, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from workflow.lib import orphans

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
_HEAD, _TAIL = 400, 190  # of a long line: what is wrong stands first, what is allowed last


class UserError(Exception):
    """A mistake that the user can mend: a wrong path, a wrong value, a missing download.

    Its text is one line: what is wrong, where, and what to do instead.
    """


def one_line(text: object) -> str:
    """`text` with every run of white space, line breaks too, made one space; what can't be printed is escaped."""
    words = " ".join(str(text).split())
    return words if words.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)


def shortened(text: object) -> str:
    """`text` in one line of at most 600 characters: of a longer one the middle is left out."""
    line = one_line(text)
    return line if len(line) <= _HEAD + _TAIL else f"{line[:_HEAD]} ... {line[-_TAIL:]}"


def describe(error: UserError | OSError) -> str:
    """The one line of at most 600 characters that stands for `error`; an `OSError` is named with its path."""
    if isinstance(error, OSError) and error.filename is not None:
        return shortened(f"{error.filename}: {error.strerror or type(error).__name__}")
    return shortened(error) or type(error).__name__


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`.

    `UserError` and `OSError` end in one line on stderr and exit status 1, an interrupt in status 130. Any other
    exception is a defect of ours and keeps its traceback. A script that is a job ends with its Snakemake.
    """
    orphans.watch()
    try:
        main()
    except (UserError, OSError) as error:
        print(f"error: {describe(error)}", file=sys.stderr, flush=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)
