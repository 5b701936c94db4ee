"""The rows of a list, held against the disk and against each other. Every error begins with the row."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow.lib.errors import UserError

_OTHERS = {"a Windows path": re.compile(r"[A-Za-z]:[\\/]|\\\\"), "an address": re.compile(r"[a-z0-9]+://")}


@dataclass(frozen=True)
class Row:
    """One image in a list: where it stands (`photos.csv, row 17`), as written and in full, its label, split and group.

    `split` and `group` are empty where the list has none.
    """

    at: str
    image: str
    file: str
    label: str
    split: str
    group: str


def place(at: str, image: str, base: Path) -> str:
    """The full path of an image as a list names it, below `base` where it is relative; Windows' slashes are turned.

    Raises `UserError` for what is no path of this machine.
    """
    if os.name != "nt" and (what := next((what for what, form in _OTHERS.items() if form.match(image)), "")):
        remedy = (
            "write paths relative to the list, or to root:" if what != "an address" else "download the images first"
        )
        raise UserError(f"{at}: {image!r} is {what}; {remedy}")
    here = os.path.join(base, image)
    if "\\" in image and not os.path.exists(here):
        here = os.path.join(base, image.replace("\\", "/"))
    return os.path.abspath(here)


def check_repeats(rows: Sequence[Row]) -> None:
    """Raise `UserError` for an image that is listed twice, with another label, in another split or just again."""
    seen: dict[str, Row] = {}
    for row in rows:
        first = seen.setdefault(row.file, row)
        if first is row:
            continue
        for what, mine, other in (("the label", row.label, first.label), ("the split", row.split, first.split)):
            if mine != other:
                raise UserError(f"{row.at}: {row.image!r} has {what} {mine!r}, but {other!r} in {_short(first, row)}")
        raise UserError(f"{row.at}: {row.image!r} stands in {_short(first, row)} already; remove one of the two")


def _short(row: Row, beside: Row) -> str:
    """`row 3` of the same list, or of which other."""
    own, _, number = row.at.rpartition(", ")
    return number if beside.at.rpartition(", ")[0] == own else f"{number} of {own}"


def check_files(rows: Sequence[Row]) -> None:
    """Raise `UserError` where images are missing, with their number and the first of them."""
    missing = [row for row in rows if not os.path.isfile(row.file)]
    if missing:
        first = missing[0]
        number = "the image is" if len(rows) == 1 else f"{len(missing)} of {len(rows)} images are"
        raise UserError(
            f"{first.at}: no such image: {first.file}{_near(first.file)}; {number} missing{_all(missing, rows)}"
        )


def _all(missing: Sequence[Row], rows: Sequence[Row]) -> str:
    return ": does root: name the folder that the paths begin in?" if len(missing) == len(rows) else ""


def _near(file: str) -> str:
    """The same name in other letters or with another suffix, if it lies beside."""
    folder, name = os.path.split(file)
    if not os.path.isdir(folder):
        return ""
    stem = os.path.splitext(name)[0].lower()
    near = next((other for other in sorted(os.listdir(folder)) if os.path.splitext(other)[0].lower() == stem), "")
    return f" (there is {near})" if near else ""
