"""Mistakes of the user: one line each that says what is wrong, where, and what to do instead."""

import sys
from typing import TextIO

_HEAD, _TAIL = 400, 190  # of a long line: what is wrong stands first, what is allowed last


class UserError(Exception):
    """A mistake that the user can mend: a wrong path, a wrong value, a missing download.

    Its text is one line: what is wrong, where, and what to do instead.
    """


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a whole line with one write, to stderr if no stream is given.

    Many processes share the stream. Where Python doesn't buffer (PYTHONUNBUFFERED, usual in containers), `print` writes
    the end of the line on its own, and what another process writes in between is glued to the line.
    """
    stream = stream or sys.stderr
    stream.write(f"{line}\n")
    stream.flush()


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
