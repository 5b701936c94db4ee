"""The index of a dataset: which image files belong to which split and class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from workflow.lib import files
from workflow.lib.errors import UserError, one_line

SPLITS = ("train", "val", "test")
Entry = tuple[str, int]  # an image file, relative to the root with forward slashes, and its label


@dataclass(frozen=True)
class Index:
    """Class names (K), the folder that holds the images, and for each split its files with labels 0 to K - 1."""

    classnames: tuple[str, ...]
    root: Path
    splits: Mapping[str, Sequence[Entry]]


def write_index(path: str | os.PathLike[str], index: Index) -> None:
    """Write `index` as JSON. A root inside the index's own folder is stored relative to it, so both can be moved."""
    check(index, os.fspath(path))
    here, root = Path(os.path.abspath(path)).parent, Path(os.path.abspath(index.root))
    stored = root.relative_to(here).as_posix() if root.is_relative_to(here) else str(root)
    splits = {name: [list(entry) for entry in entries] for name, entries in index.splits.items()}
    files.write_json(path, {"classnames": list(index.classnames), "root": stored, "splits": splits})


def read_index(path: str | os.PathLike[str]) -> Index:
    """Read and check an index. Raises `UserError` where it is missing, no JSON, or says what can't be."""
    where = os.fspath(path)
    if not Path(path).is_file():
        raise UserError(f"{where}: no such index")
    try:
        index = _parse(files.read_json(path), Path(path).parent)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: not an index of images ({type(error).__name__}: {one_line(error)})") from error
    check(index, where)
    return index


def _parse(content: dict[str, Any], folder: Path) -> Index:
    given = content["splits"]
    known = [name for name in SPLITS if name in given]  # in their own order: JSON has them in the alphabet's
    names = known + [name for name in given if name not in SPLITS]
    splits = {name: [(file, label) for file, label in given[name]] for name in names}
    if not isinstance(content["classnames"], list):  # a text would be taken for a list of letters
        raise TypeError("classnames are no list")
    return Index(tuple(content["classnames"]), folder / content["root"], splits)


def check(index: Index, where: str) -> None:
    """Raise a `UserError` that begins with `where` unless names, splits, labels and files are sound."""
    try:
        check_classnames(index.classnames)
        unknown = sorted(set(index.splits) - set(SPLITS))
        if unknown or "train" not in index.splits:
            raise UserError(f"splits are {', '.join(index.splits)}; train is wanted, val and test are allowed")
        for split, entries in index.splits.items():
            _check_entries(split, entries, len(index.classnames))
        _check_train(index)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def check_classnames(names: tuple[str, ...]) -> None:
    """Raise `UserError` unless there is a class, and every one has a name of its own."""
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError("classnames: one name for each class is wanted, none empty")
    if broken := next((name for name in names if not _is_text(name)), None):
        raise UserError(f"classnames: {broken!r} is no text in UTF-8")
    if len(set(names)) < len(names):
        repeated = next(name for index, name in enumerate(names) if name in names[:index])
        raise UserError(f"classnames: {repeated!r} stands there twice")


def _is_text(name: str) -> bool:
    """Whether a name can be written down: a file name that is no UTF-8 comes as a text that isn't one."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _check_entries(split: str, entries: Sequence[Entry], classes: int) -> None:
    if not entries:
        raise UserError(f"{split} has no images")
    for file, label in entries:
        if type(label) is not int or not 0 <= label < classes:
            raise UserError(f"{split}: {file!r} has label {label!r}; labels go from 0 to {classes - 1}")
        if not isinstance(file, str) or not _is_inside(file) or not _is_text(file):
            raise UserError(f"{split}: {file!r} is no path inside the root, in UTF-8")


def _is_inside(file: str) -> bool:
    """Whether the relative path stays inside its root, as written: links below the root are the owner's business."""
    path = PurePosixPath(file)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _check_train(index: Index) -> None:
    there = {label for _, label in index.splits["train"]}
    missing = [name for label, name in enumerate(index.classnames) if label not in there]
    if missing:
        raise UserError(f"train has no image of class {missing[0]!r}")
