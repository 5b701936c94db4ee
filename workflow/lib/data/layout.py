"""Splits and classes as folders say them: `train/<class>/…`, in the spellings and depths that people use."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workflow.lib.data.index import SPLITS, Entry
from workflow.lib.data.walk import SUFFIXES, Place, Tree, is_system, some, suffix, summary, walk
from workflow.lib.errors import UserError

READINGS = ("top", "leaf")
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")

Classes = dict[str, list[str]]  # the images of each class, relative to the folder that holds the classes


def home(path: str) -> Path:
    """The folder that a study names. Raises `UserError` where there is none."""
    found = Path(os.path.expanduser(path))
    if found.is_dir():
        return found
    if not found.exists():
        raise UserError(f"path: no folder {found}")
    unpack = "; unpack it and name the folder" if found.name.lower().endswith(_ARCHIVES) else ""
    raise UserError(f"path: {found} is a file, where a folder is wanted{unpack}")


def folders(path: Path) -> list[str]:
    """The folders in a folder by name, without what systems leave there."""
    return sorted(entry.name for entry in os.scandir(path) if not is_system(entry.name) and entry.is_dir())


def splits(path: Path) -> dict[str, str]:
    """The folder of each split in `path`, as it is spelt there: `Test` and `validation` count too.

    Raises `UserError` where there is none for train, with what lies there instead, or there are two for one split.
    """
    found: dict[str, str] = {}
    for name in folders(path):
        split = next((split for split in SPLITS if name.lower() in SPELLINGS[split]), None)
        if split in found:
            raise UserError(f"path: {path} has {found[split]}/ and {name}/, which both stand for {split}; keep one")
        if split is not None:
            found[split] = name
    if "train" not in found:
        raise UserError(f"path: no folder {path / 'train'}, with a folder of images for each class{_instead(path)}")
    return {split: found[split] for split in SPLITS if split in found}


def unsplit(path: Path, key: str = "split") -> dict[str, str]:
    """The folder that holds the classes of images without a split, as that of train: `train/`, or `path` itself.

    Raises `UserError`, with the key that asks for one, where there are folders for other splits too.
    """
    found = splits(path) if any(name.lower() in SPELLINGS["train"] for name in folders(path)) else {}
    others = [name for name in folders(path) for split in SPLITS[1:] if name.lower() in SPELLINGS[split]]
    if others:
        raise UserError(f"{key}: {path} has {others[0]}/, a split of its own; leave `{key}` away or name another")
    return found or {"train": ""}


def _instead(path: Path) -> str:
    """What lies where train/ is wanted, as far as it helps."""
    names = folders(path)
    loose = sum(1 for name in os.listdir(path) if is_image(path / name))
    inner = next((name for name in names if set(folders(path / name)) & set(SPELLINGS["train"])), None)
    if inner is not None:
        return f"; did you mean path: {path / inner}?"
    if near := nearest(path, "train"):
        return near
    if loose:
        return f"; {loose} images lie loose in {path}: sort them into folders"
    if names:
        known = {spelling for spellings in SPELLINGS.values() for spelling in spellings}
        hint = "" if known & {name.lower() for name in names} else ": if these are the classes, add split: {test: 0.5}"
        return f"; there are the folders {some(names)}{hint}"
    return "; it is empty" if not os.listdir(path) else "; it holds no folder"


def nearest(path: Path, split: str) -> str:
    """A folder in `path` whose name is nearly that of a split, in the words of an error; empty where there is none."""
    near = (name for name in folders(path) if difflib.get_close_matches(name.lower(), SPELLINGS[split], cutoff=0.7))
    return next((f"; did you mean {name}/? Rename it" for name in near), "")


def is_image(path: Path) -> bool:
    """Whether the name is that of an image that counts."""
    return not is_system(path.name) and suffix(path.name) in SUFFIXES and path.is_file()


def classes(tree: Tree, reading: str | None) -> Classes:
    """The images of each class below `tree.home`, classes in alphabetical order and their names in Unicode's NFC.

    `top`: a class is a folder directly in it, with all that lies below. `leaf`: every folder that itself holds images,
    by its path. Raises `UserError` where it isn't said and makes a difference, for images that lie loose, for a class
    without images and for two whose names differ in Unicode's form alone.
    """
    if loose := tree.images.get(""):
        beside = "beside the folders of the classes" if tree.below() else "and no folder for each class"
        raise UserError(f"path: {tree.home} holds {len(loose)} images ({some(loose, 1)}) {beside}; move them into some")
    top, leaf = tree.below(), sorted(tree.images)
    _check_forms(tree.home, top)
    _check_forms(tree.home, leaf if reading == "leaf" else ())
    if reading is None and len(_grouped(leaf, None)) < len(leaf):
        raise UserError(
            f"classes: the folders in {tree.home} are nested: say `classes: top` for {len(top)} classes ({some(top)}) "
            f"or `classes: leaf` for {len(leaf)} ({some(leaf)})"
        )
    grouped = _grouped(leaf, reading)
    found = {
        name: [f"{folder}/{file}" for folder in own for file in tree.images[folder]] for name, own in grouped.items()
    }
    empty: Classes = {} if reading == "leaf" else {normal(name): [] for name in top}
    return dict(sorted((empty | found).items()))


def _class_of(folder: str, reading: str | None) -> str:
    """The class of the images in a folder."""
    return normal(folder if reading == "leaf" else folder.split("/")[0])


def _grouped(folders: Iterable[str], reading: str | None) -> dict[str, list[str]]:
    """The folders of each class."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        found.setdefault(_class_of(folder, reading), []).append(folder)
    return found


def normal(name: str) -> str:
    """The name in the one of Unicode's forms in which names are compared: systems write é as one character or two."""
    return unicodedata.normalize("NFC", name)


def _check_forms(path: Path, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(normal(name), name)
        if other != name:
            raise UserError(f"path: {path} has {other!a} and {name!a}, the same name in two forms of Unicode; keep one")


Listed = tuple[tuple[str, ...], dict[str, list[Entry]], Counter[str]]


def listed(path: Path, found: Mapping[str, str], reading: str | None) -> Listed:
    """The class names, the images of each split with their labels, and how many files of which suffix were left out.

    `found` is the folder of each split in `path`. Raises `UserError` for all that `classes` does, for a class of val or
    test that train lacks, and where a link makes images of one class images of another.
    """
    trees = {split: walk(path / name) for split, name in found.items()}
    by_split = {split: classes(tree, reading) for split, tree in trees.items()}
    names = tuple(by_split["train"])
    _check_train(trees["train"], by_split["train"])
    for split, tree in trees.items():
        _check_known(tree.home, by_split[split], names, trees["train"].home)
    _check_links(trees, reading)
    labels = {name: label for label, name in enumerate(names)}
    entries = {
        split: [(f"{found[split]}/{file}".lstrip("/"), labels[name]) for name, files in own.items() for file in files]
        for split, own in by_split.items()
    }
    return names, entries, sum((tree.left_out for tree in trees.values()), start=Counter())


def _check_train(tree: Tree, found: Classes) -> None:
    if empty := [name for name, files in found.items() if not files]:
        left_out = f"; left out there and beside it: {summary(tree.left_out)}" if tree.left_out else ""
        raise UserError(
            f"path: {tree.home / empty[0]}: no image in it, so train has no image of class {empty[0]!r}{left_out}"
        )
    if len(found) < 2:
        what = f"one class, {next(iter(found))}" if found else "no folder of a class"
        raise UserError(f"path: {tree.home} holds {what}; two are wanted at least")


def _check_known(path: Path, own: Classes, names: Sequence[str], train: Path) -> None:
    if unknown := sorted(own.keys() - set(names)):
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"path: {path / unknown[0]} is of a class that {train} does not have{hint}")


def _check_links(trees: Mapping[str, Tree], reading: str | None) -> None:
    """A folder reached twice, by a link, is of one class, and counts once in a split."""
    seen: dict[Place, tuple[str, str, Path]] = {}
    for split, tree in trees.items():
        for folder in sorted(tree.images):
            name = _class_of(folder, reading)
            own = (split, name, tree.home / folder)
            first = seen.setdefault(tree.folders[folder], own)
            if first is own or (first[0] != split and first[1] == name):
                continue
            why = "count twice" if first[1] == name else f"be of the classes {first[1]} and {name}"
            raise UserError(f"path: {own[2]} is the same folder as {first[2]}: its images would {why}; remove the link")
