"""Which images are asked about: files, folders, patterns and lists, as a command line names them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow.lib.data.walk import SUFFIXES
from workflow.lib.errors import UserError

LISTS = (".txt", ".lst")


def images(given: Sequence[str]) -> list[Path]:
    """Every image, once, in order: of folders those below them that have an image's suffix, in the order of names.

    A .txt file is a list, a path a line, seen from where the list lies. Raises `UserError` where something named is not
    there, or nothing is found.
    """
    found = list(dict.fromkeys(path for one in given for path in _of(one)))
    if not found:
        raise UserError(f"no images in {', '.join(given)}; suffixes of images: {', '.join(sorted(SUFFIXES))}")
    return found


def _of(given: str) -> Iterator[Path]:
    path = Path(given)
    if path.is_dir():
        yield from below(path)
    elif path.is_file() and path.suffix.lower() in LISTS:
        yield from _listed(path)
    elif path.is_file():
        yield path
    elif glob.has_magic(given):
        for match in sorted(glob.glob(given, recursive=True)):
            yield from below(Path(match)) if os.path.isdir(match) else [Path(match)]
    else:
        raise UserError(f"{given}: no such image, folder or list")


def below(folder: Path) -> Iterator[Path]:
    """The images below a folder; hidden files and folders are none."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(place) / name


def _listed(path: Path) -> Iterator[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a list in UTF-8, a path a line") from error
    for line in filter(None, map(str.strip, lines)):
        yield path.parent / line
