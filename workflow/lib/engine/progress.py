"""What the log of a cell says while heads are trained."""

import time
from typing import Protocol

from methods.contract.base import Task

LOG_SECONDS = 2.0


class Running(Protocol):
    """Trainings side by side, in the middle of it."""

    per_epoch: int

    def loss(self) -> float:
        """The mean over the last epoch. Reading it waits for the device."""
        ...


class Progress:
    """A log line every few seconds: epochs, loss, time left. Reading the loss is what waits for the device."""

    def __init__(self, task: Task, name: str, trainings: int, chunks: int) -> None:
        self._log, self._chunks, self._done = task.log, chunks, -1
        self._before = 0.0  # chunks, and parts of one, that another process has done
        self._start = self._said = time.monotonic()
        parts = f" in {chunks} chunks" if chunks > 1 else ""
        self._log(f"{name}: {trainings} trainings side by side{parts}, on {task.device}")

    def skip(self) -> None:
        """Another chunk was done before this process began."""
        self._done += 1
        self._before = self._done + 1.0

    def start(self, total: int, done: int = 0) -> None:
        """Another chunk begins, of so many steps, some of which were done before this process began."""
        self._total = total
        self._done += 1
        if done:
            self._before = self._done + done / total
            self._log(f"  going on from a checkpoint, {done} of {total} steps")

    def __call__(self, step: int, run: Running) -> None:
        now = time.monotonic()
        if now - self._said < LOG_SECONDS and step < self._total:
            return
        self._said = now
        done = self._done + step / self._total
        left = (now - self._start) / (done - self._before) * (self._chunks - done)
        epoch = f"epoch {step / run.per_epoch:.0f}/{self._total / run.per_epoch:.0f}"
        part = f"chunk {self._done + 1}/{self._chunks}, " if self._chunks > 1 else ""
        self._log(f"  {part}{epoch}, loss {run.loss():.4f}, {left:.0f} s left")
