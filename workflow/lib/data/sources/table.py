"""A list of images: CSV, TSV, JSON lines or Parquet, with columns for image, label and, where there are any, split and
group."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from methods.contract.hookspecs import hookimpl
from methods.contract.params import brief, nearest
from workflow.lib.data import folding, splitting
from workflow.lib.data.classlists import check_names, class_names
from workflow.lib.data.index import SPLITS, Entry, Index
from workflow.lib.data.layout import SPELLINGS
from workflow.lib.data.lists import DELIMITERS, NoText, Table, home, read
from workflow.lib.data.rows import Row, check_files, check_repeats, place
from workflow.lib.data.sources.base import Option, Source
from workflow.lib.data.walk import walk
from workflow.lib.errors import UserError

log = logging.getLogger(__name__)
COLUMNS = ("image", "label", "split", "group")


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """The images in the list where they lie. Nothing is copied into `root`."""
    rows = listed(options)
    _tell_shared(rows)
    index = _index(rows, options)
    return folding.deal(index, options, _groups(rows), root, threads) if folding.asked(options) else index


def look(options: Mapping[str, Any]) -> Index:
    """The images in the list. Raises `UserError`, with the row, for whatever is wrong in it."""
    rows = listed(options)
    index = _index(rows, options)
    return folding.look(index, options, _groups(rows)) if folding.asked(options) else index


def _index(rows: Sequence[Row], options: Mapping[str, Any]) -> Index:
    """The index as the list has it; all images are of train where it has no split."""
    folder = Path(os.path.commonpath([os.path.dirname(row.file) for row in rows]))
    names, labels = class_names(rows, options["names"])
    splits: dict[str, list[Entry]] = {split: [] for split in SPLITS}
    for row, label in zip(rows, labels, strict=True):
        splits[row.split or "train"].append((Path(row.file).relative_to(folder).as_posix(), label))
    return Index(names, folder, {split: own for split, own in splits.items() if own})


def _groups(rows: Sequence[Row]) -> list[str]:
    return [row.group for row in rows] if any(row.group for row in rows) else []


def listed(options: Mapping[str, Any]) -> list[Row]:
    """The rows of the list or lists, each checked. Raises `UserError`."""
    given = options["path"]
    if options["label_from"] and "label" in options["columns"]:
        raise UserError("label_from: the column of the label is named too; keep one of the two")
    lists = given if isinstance(given, dict) else {"": given}
    rows = [row for split, path in lists.items() for row in _read(home(path), split, options)]
    _check_splits(rows, options)
    check_repeats(rows)
    check_files(rows)
    if options["groups"] and not folding.asked(options):
        raise UserError(
            "groups: goes with `split` or `cross_validate`, which deal the images out; here the list has its own splits"
        )
    return rows


def check_path(value: Any) -> None:
    """Raise `UserError` unless it is a path, or one for each split."""
    if isinstance(value, dict):
        if wrong := [key for key in value if key not in SPLITS]:
            raise UserError(f"found the key {brief(wrong[0])}, allowed: {', '.join(SPLITS)}")
        if "train" not in value or not all(isinstance(path, str) for path in value.values()):
            raise UserError("a path for each split is wanted, train among them: {train: train.csv, test: test.csv}")


def check_columns(value: Mapping[str, Any]) -> None:
    """Raise `UserError` unless it names columns by their names or numbers."""
    for key, column in value.items():
        if key not in COLUMNS:
            raise UserError(
                f"columns: found the key {brief(key)}, allowed: {', '.join(COLUMNS)}{nearest(key, COLUMNS)}"
            )
        if type(column) not in (str, int):
            raise UserError(f"{key}: found {brief(column)}, allowed: a column's name, or its number from 1")


def _read(path: Path, split: str, options: Mapping[str, Any]) -> list[Row]:
    """The rows of one list, or the images in a folder; all of them are of `split`, where it is named."""
    table = _folder(path) if path.is_dir() else read(path, options["header"], options["delimiter"])
    columns = _columns(table, options)
    base = home(options["root"]) if options["root"] else path if path.is_dir() else path.parent
    if not base.is_dir():
        raise UserError(f"root: no folder {base}")
    made = []
    for number, cells in table.rows:
        found = {key: cells[at] for key, at in columns.items()}
        made.append(_row(table.at(number), found, split, base, options))
    return made


def _folder(path: Path) -> Table:
    """The images below a folder as a list of their paths: all else is in their names."""
    found = list(walk(path).files())
    if not found:
        raise UserError(f"path: no image in {path}")
    return Table(path, ["image"], [(number, [file]) for number, file in enumerate(found, 1)])


def _columns(table: Table, options: Mapping[str, Any]) -> dict[str, int]:
    """The place of each column that is wanted. Without a header the first is the image and the second its label."""
    usual: Mapping[str, str | int] = {key: key for key in table.header if key in COLUMNS}
    if not table.header:
        usual = {"image": 1, "label": 2}
    wanted = {"image": "image", "label": "label", **usual, **options["columns"]}
    if options["label_from"]:
        del wanted["label"]
    if options["groups"] in table.header:
        wanted["group"] = options["groups"]
    elif options["groups"]:
        splitting.check_pattern(options["groups"], "groups: ")
    if _is_file(table):
        raise UserError(
            f"header: the first row of {table.path} is no header ({', '.join(table.header)}); header: false"
        )
    return {key: table.index(column, f"columns: {key}") for key, column in wanted.items()}


def _is_file(table: Table) -> bool:
    """Whether the first row names an image, so that it is no header."""
    return any(os.path.splitext(cell)[1].lower() in (".jpg", ".jpeg", ".png", ".bmp", ".tif") for cell in table.header)


def _row(at: str, found: Mapping[str, str], split: str, base: Path, options: Mapping[str, Any]) -> Row:
    for key, cell in found.items():
        if isinstance(cell, NoText):
            raise UserError(f"{at}: {key} is a {cell}, where text is wanted")
        if not cell:
            raise UserError(f"{at}: {key} is empty")
    image = found["image"].replace("\\", "/") if "\\" in found["image"] else found["image"]
    label = _label(at, image, options["label_from"]) if options["label_from"] else found["label"]
    group = found.get("group", "") or _group(at, image, options["groups"])
    return Row(at, image, place(at, found["image"], base), label, _split(at, found, split), group)


def _label(at: str, image: str, pattern: str) -> str:
    label = (splitting.matched(pattern, image) or "").strip()
    if not label:
        raise UserError(f"{at}: label_from: {brief(pattern)} finds no label in {image!r}")
    return label


def _group(at: str, image: str, pattern: str | None) -> str:
    group = splitting.matched(pattern, image) if pattern else ""
    if group is None:
        raise UserError(
            f"{at}: groups: {brief(pattern)} is no column and, as an expression, finds nothing in {image!r}"
        )
    return group


def _split(at: str, found: Mapping[str, str], split: str) -> str:
    """The split of a row, as its list or its cell says it."""
    if split or "split" not in found:
        return split
    known = next((name for name, spellings in SPELLINGS.items() if found["split"].lower() in spellings), None)
    if known is None:
        raise UserError(f"{at}: the split is {found['split']!r}, allowed: {', '.join(SPLITS)}")
    return known


def _check_splits(rows: Sequence[Row], options: Mapping[str, Any]) -> None:
    """Either the list says the splits, or `split:` or `cross_validate:` does without."""
    there, key = {row.split for row in rows}, folding.asked(options)
    if not key and there == {""}:
        raise UserError(
            f"split: {rows[0].at.rpartition(', ')[0]} has no column for it; name it (columns: {{split: …}}), give one "
            "list for each split, or let it be made: split: {test: 0.5} or cross_validate: 5"
        )
    if key and not there <= {"", "train"}:
        raise UserError(f"{key}: the list has splits of its own ({', '.join(sorted(there))}); leave {key}: away")
    if not key and "train" not in there:
        raise UserError(f"columns: split: no row is of train; there are {', '.join(sorted(there))}")


def _tell_shared(rows: Sequence[Row]) -> None:
    """Say how many groups stand on two sides, where the list has both splits and groups."""
    where: dict[str, set[str]] = {}
    for row in rows:
        if row.group:
            where.setdefault(row.group, set()).add(row.split)
    if shared := [group for group, splits in where.items() if len(splits) > 1]:
        log.info(
            "%d of %d groups have images in two splits or more, the first is %s", len(shared), len(where), shared[0]
        )


SOURCE = Source(
    name="table",
    help="a list of images: CSV, TSV, JSON lines or Parquet",
    templates=("a photo of a {}.",),
    prepare=prepare,
    look=look,
    options={
        "path": Option(
            (str, dict),
            "the list, one for each split: {train: …}, or a folder",
            required=True,
            check=check_path,
        ),
        "columns": Option(
            dict, "the columns of image, label, split and group: names, or numbers from 1", {}, check=check_columns
        ),
        "header": Option(bool, "whether the first row names the columns", True),
        "delimiter": Option(str, "what stands between cells; found out by default", allowed=tuple(DELIMITERS)),
        "root": Option(str, "the folder that the paths begin in; by default that of the list"),
        "label_from": Option(
            str, "a regular expression that finds the label in the path", check=splitting.check_pattern
        ),
        "names": Option(
            (str, dict), "the names of labels: a file with one a line from 0, or {path, label, name}", check=check_names
        ),
        "split": splitting.SPLIT,
        "cross_validate": folding.FOLDS,
        "groups": Option(str, "a column, or a regular expression that finds the group in the path"),
    },
)


@hookimpl
def register_sources() -> list[Source]:
    return [SOURCE]
