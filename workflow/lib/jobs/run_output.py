"""What a run says while it goes: one line for all its cells, in place of two for each, and where the first table lies.

Snakemake's own lines about the start of other jobs, and about whatever goes wrong, stay as they are.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from tqdm import tqdm

Place = tuple[str, str, str]  # dataset, backbone, shots
HANDLER = "DefaultStreamHandler"  # Snakemake's name of what writes to the terminal
_CHATTER = ("Select jobs to execute...", "Finished jobid: 0 ")
PATIENCE = 20.0  # seconds from the first cell on: a run that is over by then needs no tables before its end
_KNOWN = 0.05  # share of the work from which on its end can be estimated
_CLEAR = "\r\x1b[K"
_SECONDS = {True: 0.2, False: 30.0}  # between two lines on a terminal, and in a log


@dataclass(frozen=True)
class CellJob:
    """A cell that the run is to compute: dataset, backbone, label and shots; the tables that wait for it; its cost."""

    key: tuple[str, str, str, str]
    places: Sequence[Place]
    cost: float


class RunOutput(logging.Filter):
    """A filter of Snakemake's log lines that counts the cells by them and says how far they are.

    `cells` by job number. `first` is called with a place once all its cells are there, the first one of each dataset
    and backbone; `later` whenever a further cell is.
    """

    def __init__(
        self,
        cells: Mapping[int, CellJob],
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._cells, self._stream, self._clock = cells, stream, clock
        self.first: Callable[[Place], None] = lambda place: None
        self.later: Callable[[], None] = lambda: None
        self._terminal = stream.isatty()
        self._waiting: dict[Place, set[int]] = {}
        for number, cell in cells.items():
            for place in cell.places:
                self._waiting.setdefault(place, set()).add(number)
        self._said: set[tuple[str, str]] = set()
        self._ready: list[Place] = []  # to be told of
        self._done: set[int] = set()
        self._begun: float | None = None
        self._last = -1e9
        self._open = False  # whether the cursor stands at the end of a line of ours

    def pending(self) -> list[tuple[str, str, str, str]]:
        """The cells that are still to be computed."""
        return [cell.key for number, cell in self._cells.items() if number not in self._done]

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether Snakemake is to print the record."""
        event = str(getattr(getattr(record, "event", None), "value", ""))
        number = getattr(record, "job_id", getattr(record, "jobid", None))
        if event == "job_finished":  # other jobs say themselves what they have done
            if number in self._cells:
                self._finished(int(str(number)))
            return False
        if self._is_chatter(record, event, number):
            if event in ("job_info", "group_info") and self._begun is None:
                self._begun = self._clock()
            return False
        self.close()
        return True

    def _is_chatter(self, record: logging.LogRecord, event: str, number: Any) -> bool:
        """Lines that the one line stands for."""
        if event == "job_info":
            return number in self._cells or getattr(record, "rule_name", "") == "all"
        if event == "group_info":
            return all(job.jobid in self._cells for job in getattr(record, "jobs", ()))
        return event in ("progress", "job_started") or str(record.msg).startswith(_CHATTER)

    def _finished(self, number: int) -> None:
        self._done.add(number)
        for place in self._cells[number].places:
            self._waiting[place].discard(number)
            if not self._waiting[place] and place[:2] not in self._said:
                self._said.add(place[:2])
                self._ready.append(place)
        now = self._clock()
        if now - (now if self._begun is None else self._begun) >= PATIENCE:
            while self._ready:
                self.first(self._ready.pop(0))
            self.later()
        if now - self._last >= _SECONDS[self._terminal] or len(self._done) == len(self._cells):
            self._last = now
            self.write(self.line(now))

    def line(self, now: float) -> str:
        """Cells done of all, and the time left by what the cells cost, once enough is done to tell."""
        total = sum(cell.cost for cell in self._cells.values())
        done = sum(self._cells[number].cost for number in self._done)
        gone = now - (now if self._begun is None else self._begun)
        said = f"cells: {len(self._done)} of {len(self._cells)}, {tqdm.format_interval(gone)} gone"
        if done < _KNOWN * total or len(self._done) == len(self._cells):
            return said
        return f"{said}, about {tqdm.format_interval(gone * (total - done) / done)} left"

    def write(self, line: str) -> None:
        """Show a line: on a terminal in place of the one before."""
        if self._terminal:
            self._stream.write(_CLEAR + line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._open = self._terminal

    def close(self) -> None:
        """Make room for a line that is not ours."""
        if self._open:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._open = False


def install(output: RunOutput, handlers: Sequence[logging.Handler]) -> bool:
    """Put the filter before Snakemake's own ones; whether its handler for the terminal is there."""
    found = [handler for handler in handlers if handler.name == HANDLER]
    for handler in found:
        handler.filters.insert(0, output)
    return bool(found)
