"""Folds of images that have no split, for `cross_validate: 5` in place of `split:`; and which of the two is asked for.

All images are in train, each with the number of its fold. They are dealt out as `splitting` deals out splits:
stratified, always the same, and what belongs together stays together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from methods.contract.params import brief
from workflow.lib.data import contents, splitting
from workflow.lib.data.index import Index
from workflow.lib.data.sources.base import Option
from workflow.lib.errors import UserError

log = logging.getLogger(__name__)


def check_count(value: int) -> None:
    """Raise `UserError` unless it is a number of folds."""
    if value < 2:
        raise UserError(f"found {brief(value)}, allowed: at least 2 folds")


FOLDS = Option(int, "how many folds, in place of `split`; 5 is usual", check=check_count)


def asked(options: Mapping[str, Any]) -> str:
    """Which option deals the images out, `split` or `cross_validate`; empty where none does.

    Raises `UserError` where both are given.
    """
    given = [key for key in ("split", "cross_validate") if options[key]]
    if len(given) > 1:
        raise UserError("cross_validate: `split` is given too; keep one of the two")
    return given[0] if given else ""


def look(index: Index, options: Mapping[str, Any], groups: Sequence[str]) -> Index:
    """The images in `index`, all of them in train, in splits or folds as asked, without reading an image."""
    if asked(options) == "split":
        return splitting.look(index, options["split"], groups)
    return _folded(index, options["cross_validate"], groups, {})


def deal(index: Index, options: Mapping[str, Any], groups: Sequence[str], root: Path, threads: int) -> Index:
    """As `look`, and exact duplicates stay together. The hashes of all images are noted in `root`."""
    if asked(options) == "split":
        return splitting.split(index, options["split"], groups, root, threads)
    hashes = contents.note(root, contents.state(index), threads)
    made = _folded(index, options["cross_validate"], groups, hashes)
    sizes = Counter(made.folds)
    log.info("images of each fold: %s", ", ".join(str(sizes[fold]) for fold in sorted(sizes)))
    splitting.tell_copies(index.splits["train"], hashes)
    return made


def _folded(index: Index, count: int, groups: Sequence[str], hashes: Mapping[str, str]) -> Index:
    entries = index.splits["train"]
    _check_classes(index, count)
    found = splitting.joined(entries, groups, hashes)
    where = splitting.deal(found, {str(fold): 1 / count for fold in range(count)}, seed=0, even=True)
    folds = tuple(int(where[file]) for file, _ in entries)
    if len(set(folds)) < count:
        raise UserError(
            f"cross_validate: {len(entries)} images are {len(found)} with what stays together (duplicates, groups), "
            f"too few for {count} folds; allowed: at most {len(set(folds))}"
        )
    places = {(label, fold) for (_, label), fold in zip(entries, folds, strict=True)}
    spread = Counter(label for label, _ in places)
    if alone := [name for label, name in enumerate(index.classnames) if spread[label] == 1]:
        raise UserError(
            f"cross_validate: all images of class {alone[0]!r} are in one fold, as they stay together (duplicates, "
            "groups): nothing is left to learn it from while they are answered"
        )
    return replace(index, folds=folds)


def _check_classes(index: Index, count: int) -> None:
    """Every class has as many images as there are folds."""
    images = Counter(label for _, label in index.splits["train"])
    smallest = min(range(len(index.classnames)), key=lambda label: images[label])
    if images[smallest] < count:
        raise UserError(
            f"cross_validate: found {count} folds, and class {index.classnames[smallest]!r} has {images[smallest]} "
            f"images; allowed: at most that many folds"
        )
