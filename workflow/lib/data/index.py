"""The index of a dataset: which image files belong to which split and class."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.lib import files
from workflow.lib.errors import UserError, one_line

SPLITS = ("train", "val", "test")
Entry = tuple[str, int]  # an image file, relative to the root with forward slashes, and its label


@dataclass(frozen=True)
class Index:
    """Class names (K), the folder that holds the images, and for each split its files with labels 0 to K - 1.

    `names` are those of each class in prompts, several for some; none where each has its class name alone. `left_out`
    counts the files that are no images, by suffix. `contents` is a hash over the images' bytes, where it was taken.
    `folds` are those of the images of train, from 0, where the dataset is to be cross-validated.
    """

    classnames: tuple[str, ...]
    root: Path
    splits: Mapping[str, Sequence[Entry]]
    names: Sequence[Sequence[str]] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    contents: str = ""
    folds: Sequence[int] = ()

    def prompt_names(self) -> list[list[str]]:
        """The names of each class that stand in prompts, one at least."""
        return [list(own) for own in self.names] or [[name] for name in self.classnames]

    def fingerprint(self) -> str:
        """16 hexadecimal digits for the classes, their names and the images, wherever these lie."""
        splits = {split: list(map(list, entries)) for split, entries in self.splits.items()}
        said: list[Any] = [list(self.classnames), self.prompt_names(), splits, self.contents]
        text = json.dumps(said + ([list(self.folds)] if self.folds else []))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_index(path: str | os.PathLike[str], index: Index) -> None:
    """Write `index` as JSON. A root inside the index's own folder is stored relative to it, so both can be moved."""
    check(index, os.fspath(path))
    here, root = Path(os.path.abspath(path)).parent, Path(os.path.abspath(index.root))
    stored = root.relative_to(here).as_posix() if root.is_relative_to(here) else str(root)
    content = {
        "classnames": list(index.classnames),
        "contents": index.contents,
        **({"folds": list(index.folds)} if index.folds else {}),
        "left_out": dict(index.left_out),
        "names": [list(own) for own in index.names],
        "root": stored,
        "splits": {name: [list(entry) for entry in entries] for name, entries in index.splits.items()},
    }
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    # In front, where it is read without the list: `read_fingerprint`.
    files.write_text(path, f'{{\n  "fingerprint": "{index.fingerprint()}",' + text.removeprefix("{") + "\n")


def read_fingerprint(path: str | os.PathLike[str]) -> str:
    """The fingerprint of an index, from its first line; empty where there is no file, or it says none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = re.match(r'\{\s*"fingerprint": "([0-9a-f]{16})"', file.read(100))
    except OSError:
        return ""
    return found[1] if found else ""


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
    index = Index(tuple(content["classnames"]), folder / content["root"], splits, **_remarks(content))
    if content.get("fingerprint", index.fingerprint()) != index.fingerprint():
        raise ValueError("its fingerprint is that of another list; delete it, and the next run makes it anew")
    return index


def _remarks(content: dict[str, Any]) -> dict[str, Any]:
    """What an index may say besides."""
    empty: dict[str, Any] = {"names": [], "left_out": {}, "contents": "", "folds": []}
    names, left_out, contents, folds = (content.get(key, empty[key]) for key in empty)
    if not isinstance(names, list) or not all(isinstance(own, list) for own in names):
        raise TypeError("names are no list of lists")
    if not isinstance(left_out, dict) or not all(type(number) is int for number in left_out.values()):
        raise TypeError("left_out does not count")
    if not isinstance(contents, str):
        raise TypeError("contents is no text")
    if not isinstance(folds, list) or not all(type(fold) is int and fold >= 0 for fold in folds):
        raise TypeError("folds are no list of whole numbers from 0 up")
    return {
        "names": tuple(tuple(own) for own in names),
        "left_out": left_out,
        "contents": contents,
        "folds": tuple(folds),
    }


def check(index: Index, where: str) -> None:
    """Raise a `UserError` that begins with `where` unless names, splits, labels and files are sound."""
    try:
        check_classnames(index.classnames)
        _check_names(index)
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
    if len(names) == 1:
        raise UserError(f"one class only, {names[0]!r}: there is nothing to tell it from; at least two are wanted")
    if broken := next((name for name in names if not _is_text(name)), None):
        raise UserError(f"classnames: {broken!r} is no text in UTF-8")
    if len(set(names)) < len(names):
        repeated = next(name for index, name in enumerate(names) if name in names[:index])
        raise UserError(f"classnames: {repeated!r} stands there twice")


def _check_names(index: Index) -> None:
    """Every class has a name for prompts, where there are any."""
    if index.names and len(index.names) != len(index.classnames):
        raise UserError(f"names: {len(index.names)} for {len(index.classnames)} classes")
    for classname, own in zip(index.classnames, index.names, strict=False):
        if not own or not all(isinstance(name, str) and name.strip() and _is_text(name) for name in own):
            raise UserError(
                f"names: those of {classname!r} are {list(own)!r}; a text or several are wanted, none empty"
            )


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
    parts = file.split("/")  # a PurePath takes ten times as long, and there may be a million
    return not file.startswith("/") and ".." not in parts and any(part not in ("", ".") for part in parts)


def _check_train(index: Index) -> None:
    there = {label for _, label in index.splits["train"]}
    missing = [name for label, name in enumerate(index.classnames) if label not in there]
    if missing:
        raise UserError(f"train has no image of class {missing[0]!r}")
    if index.folds and len(index.folds) != len(index.splits["train"]):
        raise UserError(f"folds: {len(index.folds)} for {len(index.splits['train'])} images of train")
