"""The names of classes in prompts: as folders are called, or as the study says."""

from __future__ import annotations

import csv
import difflib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from workflow.lib import files
from workflow.lib.data.index import Index
from workflow.lib.data.layout import normal
from workflow.lib.data.walk import some
from workflow.lib.errors import UserError, one_line

log = logging.getLogger(__name__)

WORDNET = "wordnet"
SUFFIXES = (".yaml", ".yml", ".json", ".csv", ".tsv")
_NUMBER = re.compile(r"\d+[\s._-]+(?=\D)")
_WORDNET_ID = re.compile(r"n\d{8}")

Names = Mapping[str, Sequence[str]]  # of each class in prompts


def file_of(given: object) -> str:
    """The path of the file that `classnames` is, empty where it is something else."""
    return os.path.expanduser(given) if isinstance(given, str) and given != WORDNET else ""


def apply(index: Index, given: Mapping[str, Any] | str | None, by_folders: bool) -> Index:
    """The index with the names of its classes: those `given` in the study or in a file, for the others their own.

    `by_folders`: their own are folders', of which the last part of a path is taken and underscores become spaces.
    Raises `UserError`, beginning with `classnames`, for a class that isn't there, one that a file lacks, and two of one
    name.
    """
    folders = index.classnames
    own = {folder: [name] for folder, name in zip(folders, _own(folders) if by_folders else folders, strict=True)}
    names = own | _matched(folders, given)
    first = {folder: name[0] for folder, name in names.items()}
    _check_different(first)
    several = any(len(name) > 1 for name in names.values())
    return replace(index, classnames=tuple(first.values()), names=tuple(map(tuple, names.values())) if several else ())


def _own(folders: Sequence[str]) -> list[str]:
    """A folder's name in words; of a path its last part, where that is no other's."""
    last = [folder.rsplit("/", 1)[-1] for folder in folders]
    alone = {name for name in last if last.count(name) == 1} if len(set(last)) < len(last) else set(last)
    chosen = (name if name in alone else folder.replace("/", " ") for name, folder in zip(last, folders, strict=True))
    return [" ".join(name.replace("_", " ").split()) or name for name in chosen]


def _check_different(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for folder, name in names.items():
        if (other := seen.setdefault(name, folder)) != folder:
            raise UserError(
                f"classnames: the classes {other!r} and {folder!r} are both called {name!r}; give one another"
            )


def _matched(folders: Sequence[str], given: Mapping[str, Any] | str | None) -> dict[str, list[str]]:
    """The given names, by the folders that there are."""
    if given is None:
        return {}
    if given == WORDNET:
        found: Names = _wordnet(folders)
    else:
        found = (
            _read(file_of(given)) if isinstance(given, str) else {key: _texts(key, own) for key, own in given.items()}
        )
    names = {normal(key): [normal(name) for name in own] for key, own in found.items()}
    keys = {folder: key for folder in folders for key in (folder.rsplit("/", 1)[-1], folder) if key in names}
    unknown = [key for key in names if key not in keys.values()]
    where = given if isinstance(given, str) else "the study"
    if isinstance(given, str) and (missing := [folder for folder in folders if folder not in keys]):
        raise UserError(f"classnames: {where} has no name for {some(missing)}{_near(missing[0], unknown)}")
    if unknown and not isinstance(given, str):
        raise UserError(f"classnames: there is no class {unknown[0]!r}{_near(unknown[0], folders)}")
    if unknown and given != WORDNET:
        log.info("%s: %d names of classes that are not there", where, len(unknown))
    return {folder: names[keys[folder]] for folder in folders if folder in keys}


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _texts(key: str, own: object) -> list[str]:
    """One name, or several."""
    names = [name.strip() for name in (own if isinstance(own, list) else [own]) if isinstance(name, str)]
    given = len(own) if isinstance(own, list) else 1
    if not names or len(names) < given or not all(name and name.isprintable() for name in names):
        raise UserError(f"classnames: {key}: found {own!r}, allowed: a text of one line, or a list of such")
    return names


def _read(path: str) -> Names:
    """A file of names: YAML and JSON with folders as keys, CSV and TSV with the folder in the first column."""
    kind = Path(path).suffix.lower()
    if kind not in SUFFIXES:
        raise UserError(f"classnames: found {path!r}, allowed: a mapping, a file {', '.join(SUFFIXES)}, or {WORDNET}")
    if not Path(path).is_file():
        raise UserError(f"classnames: no such file: {path!r}")
    try:
        pairs = _rows(path, kind) if kind in (".csv", ".tsv") else _mapping(path, kind)
    except UserError as error:
        raise UserError(f"classnames: {error}") from error
    except (ValueError, yaml.YAMLError, csv.Error) as error:
        raise UserError(f"classnames: {path} can't be read ({one_line(error)})") from error
    if not pairs:
        raise UserError(f"classnames: {path} names no class")
    return {key: _texts(f"{path}: {key}", own) for key, own in pairs.items()}


def _rows(path: str, kind: str) -> dict[str, Any]:
    """Further names stand in further columns or rows of the same class."""
    found: dict[str, Any] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.reader(file, delimiter="\t" if kind == ".tsv" else ",", strict=True):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not cells[0] or not any(cells[1:]):
                raise ValueError(f"{','.join(row)!r}: a folder and a name are wanted in every row")
            found.setdefault(cells[0], []).extend(cell for cell in cells[1:] if cell)
    return found


def _mapping(path: str, kind: str) -> dict[str, Any]:
    if kind == ".json":
        found = files.read_json(path)
    else:  # every key a text: `001` is a folder, and so is `no`
        node = yaml.compose(Path(path).read_text(encoding="utf-8-sig"), yaml.BaseLoader)
        keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        if twice := next((key for i, key in enumerate(keys) if key in keys[:i]), None):
            raise ValueError(f"the key {twice!r} stands there twice")
        found = yaml.load(Path(path).read_text(encoding="utf-8-sig"), yaml.BaseLoader)
    if not isinstance(found, dict):
        raise ValueError("a mapping is wanted, from folders to names")
    return found


def _wordnet(folders: Sequence[str]) -> Names:
    """The names of WordNet ids: for ImageNet's thousand those that open_clip tests with, else WordNet's first."""
    import open_clip
    from timm.data.imagenet_info import ImageNetInfo

    thousand: Any = ImageNetInfo("imagenet-1k")
    usual = dict(zip(thousand.label_names(), open_clip.IMAGENET_CLASSNAMES, strict=True))
    twice = {name for name, number in Counter(usual.values()).items() if number > 1}  # missile, sunglasses
    described: Any = ImageNetInfo("imagenet-22k").label_descriptions(as_dict=True)
    known = described | {own: name for own, name in usual.items() if name not in twice}
    of_folder = {folder: folder.rsplit("/", 1)[-1] for folder in folders}
    return {folder: [known[own].split(",")[0]] for folder, own in of_folder.items() if own in known}


def remarks(before: Sequence[str], index: Index, given: object) -> list[str]:
    """What the log says of class names: what was made of the folders' names `before`, and what looks like no name."""
    after = index.classnames
    found = []
    if changed := [(old, new) for old, new in zip(before, after, strict=True) if old != new]:
        how = "as `classnames` says" if given else "underscores as spaces; `classnames` gives others"
        old, new = changed[0]
        found.append(f"class names: {len(changed)} of {len(after)} are not the folders', as {new!r} for {old!r}: {how}")
    if numbered := [name for name in after if _NUMBER.match(name)]:
        found.append(
            f"class names: {len(numbered)} of {len(after)} begin with a number, as {numbered[0]!r}, and so they stand "
            "in the prompts; `classnames` in the dataset's entry, a mapping or a file, gives others"
        )
    if ids := [name for name in after if _WORDNET_ID.fullmatch(name)]:
        found.append(
            f"class names: {len(ids)} of {len(after)} are WordNet ids, as {ids[0]!r}, and mean nothing in a prompt; "
            "`classnames: wordnet` in the dataset's entry gives words"
        )
    return found
