"""Images of one's own: `train/`, `val/` and `test/` with a folder of images for each class."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow.lib.data import layout
from workflow.lib.data.index import Index
from workflow.lib.data.sources.base import Option, Source

log = logging.getLogger(__name__)


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """The images where they lie, by a look. Nothing is copied into `root`."""
    index = look(options)
    for split, entries in index.splits.items():
        folder = entries[0][0].split("/")[0] if entries else split
        if folder != split:
            log.info("%s is %s/", split, folder)
    return index


def look(options: Mapping[str, Any]) -> Index:
    """The images where they lie: the classes are the folders in `train/`, in alphabetical order.

    `val/` and `test/` may be missing. Raises `UserError`, beginning with the option, for what `layout` says.
    """
    home = layout.home(options["path"])
    names, entries, left_out = layout.listed(home, layout.splits(home), options["classes"])
    return Index(names, home, entries, left_out=left_out)


SOURCE = Source(
    name="folder",
    help="images of your own, in train/ val/ test/ with a folder for each class",
    templates=("a photo of a {}.",),
    prepare=prepare,
    options={
        "path": Option(str, "the folder that holds train/, val/ and test/", required=True),
        "classes": Option(
            str,
            "top: a class is a folder in train/; leaf: every folder that holds images itself",
            allowed=layout.READINGS,
        ),
    },
    look=look,
    named_by_folders=True,
)
