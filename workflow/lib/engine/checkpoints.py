"""What a cell has come to so far, kept on disk while it trains for long: a cell that was killed goes on from there.

A cell is a sequence of fits, and a fit a sequence of runs of the engine. The file holds what came out of the fits that
are done, what the last one had come to, and the state of the run that it was in. Going on gives the same results as
never having stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from workflow.lib import files

SHARE = 50  # a checkpoint takes at most one part in so many of the time

Log = Callable[[str], None]
State = Mapping[str, Any]


class Kept(Protocol):
    """What a replica of a fit has come to."""

    def twin(self) -> Kept:
        """Another one with lists of its own: what is added to this one is not added to that."""
        ...


class Fit:
    """One fit of a method: what it has come to, and how far a fit that was killed had come."""

    def __init__(self, outcomes: Sequence[Kept], past: State | None) -> None:
        self._outcomes = outcomes
        self.waited = past["waited"] if past else 0.0  # seconds since the last candidate, of a fit that was killed
        self._since = time.perf_counter()
        self._past = past
        self._run = -1
        self._held: dict[int, Sequence[Any]] = dict(past["held"]) if past else {}

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be done."""
        return self._past is not None and self._past["run"] is None

    def judged(self) -> None:
        """A candidate has been scored."""
        self.waited, self._since = 0.0, time.perf_counter()

    def run(self) -> tuple[int, Any]:
        """For the next run of the engine: the steps that are done, and its state after these; of one that is over −1,
        and what it has left to be held.
        """
        self._run += 1
        if self._past is None or self._run > self._past["run"]:
            return 0, None
        if self._run == self._past["run"]:
            return self._past["step"], self._past["state"]
        return -1, self._held.get(self._run)

    def hold(self, head: Sequence[Any]) -> None:
        """What the run that is over has learned is wanted by those that come after it."""
        self._held[self._run] = head

    def saved(self, step: int, state: State | None) -> dict[str, Any]:
        """What is written of it, `state` None for one that is complete."""
        waited = self.waited + time.perf_counter() - self._since
        run = None if state is None else self._run
        own = [outcome.twin() for outcome in self._outcomes]  # what comes of them afterwards is no part of the fit
        held = {} if state is None else self._held
        return {"outcomes": own, "waited": waited, "run": run, "step": step, "state": state, "held": held}


class Checkpoints:
    """The checkpoints of one cell in the file `path`, for what `key` says it computes.

    `plain` are the classes that what is kept consists of, apart from tensors and arrays: nothing else is read.
    """

    def __init__(self, path: Path, key: str, plain: Sequence[type], log: Log, seconds: float) -> None:
        self._path, self._key, self._plain, self._log, self._seconds = path, key, plain, log, seconds
        past = self._read()
        self._past: Sequence[dict[str, Any]] = past.get("fits", ())
        self.before = float(past.get("elapsed", 0.0))  # seconds of the cell up to the checkpoint
        self._began = self._last = time.perf_counter()
        self._cost = 0.0
        self._fits: list[dict[str, Any]] = []
        self.fit: Fit | None = None

    def begin(self, outcomes: Sequence[Kept]) -> Fit:
        """Another fit, with what it has come to before any candidate; that becomes what is kept of it, if it is."""
        place = len(self._fits)
        past = self._past[place] if place < len(self._past) else None
        if past and len(past["outcomes"]) != len(outcomes):
            past = None
        for outcome, kept in zip(outcomes, past["outcomes"] if past else (), strict=False):
            vars(outcome).update(vars(kept))
        self.fit = Fit(outcomes, past)
        return self.fit

    def end(self) -> None:
        """The fit is complete."""
        assert self.fit is not None
        self._fits.append(self.fit.saved(0, None))
        self.fit = None

    def at(self, step: int, state: Callable[[], State]) -> None:
        """The run of the engine has done so many steps: keep that, if it is time."""
        if self.fit is None or time.perf_counter() - self._last < max(self._seconds, SHARE * self._cost):
            return
        began = time.perf_counter()
        try:
            self._write([*self._fits, self.fit.saved(step, state())])
        except OSError as error:  # a full disk, it may be: the training goes on without
            self._log(f"  no checkpoint could be kept: {error}")
        self._last = time.perf_counter()
        self._cost = self._last - began

    def remove(self) -> None:
        """The cell is done."""
        self._path.unlink(missing_ok=True)

    def _write(self, fits: Sequence[dict[str, Any]]) -> None:
        import torch

        elapsed = self.before + time.perf_counter() - self._began
        with files.atomic(self._path) as temporary:
            torch.save({"key": self._key, "elapsed": elapsed, "fits": fits}, temporary)

    def _read(self) -> dict[str, Any]:
        """What is there, if it is of this very cell."""
        if not self._path.exists():
            return {}
        import numpy as np
        import torch

        allowed = [*self._plain, *_of_numpy(np)]
        try:
            with torch.serialization.safe_globals(allowed):
                found: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:
            self._log(f"{self._path}: not a checkpoint that can be read, the cell begins anew ({error})")
            return {}
        return found if found.get("key") == self._key else {}


def _of_numpy(np: Any) -> list[Any]:
    """What arrays and numbers of NumPy are written as."""
    made = [np._core.multiarray._reconstruct, np._core.multiarray.scalar, np.ndarray, np.dtype]
    return made + [type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")]


_current: Checkpoints | None = None


def current() -> Checkpoints | None:
    """Those of the cell that this process computes, if it keeps any."""
    return _current


@contextmanager
def fit(method: Any, outcomes: Sequence[Kept]) -> Iterator[Fit]:
    """A fit of the method, which fills `outcomes`. Those of one that can't go on are not kept: it begins anew."""
    if _current is None or not getattr(method, "resumes", False):
        yield Fit(outcomes, None)
        return
    yield _current.begin(outcomes)
    _current.end()


@contextmanager
def kept(checkpoints: Checkpoints | None) -> Iterator[float]:
    """While the block runs these are the current ones, and they are removed when it ends well.

    Gives the seconds that the cell had taken up to the last one, in a process that was killed.
    """
    global _current
    _current = checkpoints
    try:
        yield checkpoints.before if checkpoints else 0.0
    finally:
        _current = None
    if checkpoints is not None:
        checkpoints.remove()
