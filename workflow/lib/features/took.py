"""How long an extraction took, in a file beside the features: these have the same bytes however long it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from workflow.lib import files
from workflow.lib.errors import UserError


def path(features: str | os.PathLike[str]) -> Path:
    """`planes.extraction.json` beside `planes.safetensors`."""
    return Path(features).with_suffix(".extraction.json")


def write(features: str | os.PathLike[str], seconds: float, images: int, device: str) -> None:
    """Seconds of all jobs that took images through the model, its loading included."""
    files.write_json(path(features), {"seconds": round(seconds, 2), "images": images, "device": device})


def read(features: str | os.PathLike[str]) -> dict[str, Any]:
    """What was written; nothing where nobody has, as of features made elsewhere, or where it can't be read."""
    try:
        found = files.read_json(path(features))
    except (OSError, UserError):
        return {}
    return found if isinstance(found, dict) else {}


def follow(features: str | os.PathLike[str], other: str | os.PathLike[str]) -> None:
    """Move what is known of one file of features to the name of another."""
    if path(features).is_file():
        os.replace(path(features), path(other))
