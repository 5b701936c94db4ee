"""Log lines of a job: the project's own from INFO up, everybody else's only when something is wrong."""

from __future__ import annotations

import logging
import sys


def start() -> None:
    """Send log lines to stderr, with the time of day."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("workflow").setLevel(logging.INFO)
