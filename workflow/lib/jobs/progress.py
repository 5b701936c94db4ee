"""A progress line: redrawn in place on a terminal, one line every few seconds in a log file."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

_SECONDS_BETWEEN_LOG_LINES = 5.0
_FORMAT = "{desc}: {n_fmt}/{total_fmt}, {rate_fmt}, {elapsed} gone, {remaining} left"


class _LogLines:
    """A stream for tqdm that ends each of its redrawings as a line instead of overwriting the last."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        stripped = text.strip()
        if stripped:
            self._stream.write(stripped + "\n")

    def flush(self) -> None:
        self._stream.flush()


def bar(total: int, description: str, unit: str = "images") -> tqdm[Any]:
    """A tqdm bar on stderr that says how many of `total` are done, how many a second and the time left."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        bar_format=_FORMAT,
        file=sys.stderr if terminal else _LogLines(sys.stderr),
        mininterval=0.2 if terminal else _SECONDS_BETWEEN_LOG_LINES,
        # tqdm's monitor thread would redraw out of turn, and smoothing hides a slow start in the time left.
        smoothing=0.1,
        dynamic_ncols=False,
    )
