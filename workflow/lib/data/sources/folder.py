"""Images of one's own: `train/`, `val/` and `test/` with a folder of images for each class, or without a split."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from methods.contract.hookspecs import hookimpl
from workflow.lib.data import folding, layout, splitting
from workflow.lib.data.index import Index
from workflow.lib.data.sources.base import Option, Source
from workflow.lib.errors import UserError

log = logging.getLogger(__name__)


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """The images where they lie, by a look. Nothing is copied into `root`."""
    if folding.asked(options):
        index = _whole(options)
        return folding.deal(index, options, _groups(index, options), root, threads)
    index = look(options)
    for split, entries in index.splits.items():
        folder = entries[0][0].split("/")[0] if entries else split
        if folder != split:
            log.info("%s is %s/", split, folder)
    return index


def look(options: Mapping[str, Any]) -> Index:
    """The images where they lie: the classes are the folders in `train/`, in alphabetical order.

    `val/` and `test/` may be missing; with `split` or `cross_validate`, the classes may lie directly in `path`. Raises
    `UserError`, beginning with the option, for what `layout`, `splitting` and `folding` say.
    """
    if folding.asked(options):
        index = _whole(options)
        return folding.look(index, options, _groups(index, options))
    if options["groups"]:
        raise UserError(
            "groups: goes with `split` or `cross_validate`, which deal the images out; here the folders say the splits"
        )
    home = layout.home(options["path"])
    names, entries, left_out = layout.listed(home, layout.splits(home), options["classes"])
    return Index(names, home, entries, left_out=left_out)


def _whole(options: Mapping[str, Any]) -> Index:
    """All images as train, of class folders in `path` or in `train/` alone."""
    home = layout.home(options["path"])
    found = layout.unsplit(home, folding.asked(options))
    names, entries, left_out = layout.listed(home, found, options["classes"])
    return Index(names, home, entries, left_out=left_out)


def _groups(index: Index, options: Mapping[str, Any]) -> list[str]:
    pattern = options["groups"]
    return splitting.grouped(pattern, [file for file, _ in index.splits["train"]]) if pattern else []


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
        "split": splitting.SPLIT,
        "cross_validate": folding.FOLDS,
        "groups": Option(
            str, "a regular expression that finds the group in a path below `path`", check=splitting.check_pattern
        ),
    },
    look=look,
    named_by_folders=True,
)


@hookimpl
def register_sources() -> list[Source]:
    return [SOURCE]
