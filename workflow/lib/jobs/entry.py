"""How every script runs: a mistake of the user ends it in one line, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from workflow.lib.errors import UserError, describe, say
from workflow.lib.jobs import orphans

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(main: Callable[[], None]) -> None:
    """Run a script's `main`.

    `UserError` and `OSError` end in one line on stderr and exit status 1, an interrupt in status 130. Any other
    exception is a defect of ours and keeps its traceback. A script that is a job ends with its Snakemake.
    """
    orphans.watch()
    try:
        main()
    except (UserError, OSError) as error:
        say(f"error: {describe(error)}")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        say("error: interrupted")
        sys.exit(INTERRUPTED)
