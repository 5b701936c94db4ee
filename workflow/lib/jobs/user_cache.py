"""Where things are kept on a machine that can be found anew: below XDG_CACHE_HOME, or ~/.cache."""

import os
from pathlib import Path


def folder(what: str) -> Path:
    """The folder for a kind of things; it need not be there. Raises RuntimeError where the user has no home."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "clip-adapter-bench" / what
