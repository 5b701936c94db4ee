"""Tables of a study that still runs: rendered by a process of their own, again and again while cells land."""

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

SHARE = 20  # a rendering may take one in so many seconds of the run


class EarlyTables:
    """Renders with `command`, of the code in a folder, when asked to: one rendering at a time, and several requests
    meanwhile are one. What `pending` gives then is the command's input as JSON. `say` gets the lines of `first`.
    """

    def __init__(
        self, command: Sequence[str], code: str, pending: Callable[[], Sequence[Any]], say: Callable[[str], None]
    ) -> None:
        self._command, self._pending, self._say = command, pending, say
        self._environment = os.environ | {"PYTHONPATH": code}
        self._lines: list[str] = []  # to be said after the next rendering
        self._wanted, self._over = False, False
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="early tables", daemon=True)
        self._thread.start()

    def first(self, line: str) -> None:
        """Render as soon as possible, and say this line when it is done."""
        with self._condition:
            self._lines.append(line)
            self._condition.notify()

    def later(self) -> None:
        """Render when the last rendering is long enough ago; before the first line nothing is rendered."""
        with self._condition:
            self._wanted = True

    def stop(self) -> None:
        """Render no more; a rendering that has begun is waited for."""
        with self._condition:
            self._over = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        pause: float | None = None
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._over or bool(self._lines), pause)
                if self._over:
                    return
                lines, self._lines = self._lines, []
                due = bool(lines) or (self._wanted and pause is not None)
                self._wanted = False
            if due:
                began = time.monotonic()
                if self._render():
                    for line in lines:
                        self._say(line)
                pause = SHARE * (time.monotonic() - began)

    def _render(self) -> bool:
        pending = json.dumps(self._pending()).encode()
        done = subprocess.run(self._command, env=self._environment, input=pending, capture_output=True, check=False)
        return done.returncode == 0
