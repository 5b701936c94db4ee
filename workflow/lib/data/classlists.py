"""The classes of a list: its labels in order, or the names that a second list gives to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from methods.contract.params import brief
from workflow.lib.data.index import SPLITS
from workflow.lib.data.lists import home, read, text
from workflow.lib.data.rows import Row
from workflow.lib.errors import UserError

KEYS = ("path", "label", "name")


def check_names(value: Any) -> None:
    """Raise `UserError` unless it is a path, or `{path: …, label: column, name: column}`."""
    if isinstance(value, dict):
        if wrong := [key for key in value if key not in KEYS]:
            raise UserError(f"found the key {brief(wrong[0])}, allowed: {', '.join(KEYS)}")
        if missing := [key for key in KEYS if key not in value]:
            raise UserError(f"the key '{missing[0]}' is missing: {{path: classes.csv, label: column, name: column}}")
        if type(value["path"]) is not str:
            raise UserError(f"path: found {brief(value['path'])}, allowed: text")
        for key in ("label", "name"):
            if type(value[key]) not in (str, int):
                raise UserError(f"{key}: found {brief(value[key])}, allowed: a column's name, or its number from 1")


def class_names(rows: Sequence[Row], names: Any) -> tuple[tuple[str, ...], list[int]]:
    """The class names (K), and the label of each row.

    Classes are in the order of their labels, numbers as numbers. Raises `UserError`, with the row, for a class that
    train lacks or a label that has no name.
    """
    known = _known(names) if names else {}
    if known and (lost := next((row for row in rows if row.label not in known), None)):
        shown = ", ".join(list(known)[:3]) + (", …" if len(known) > 3 else "")
        raise UserError(f"{lost.at}: names: no name for the label {lost.label!r}; there are names for {shown}")
    named = {row.label: known.get(row.label, row.label) for row in sorted(rows, key=lambda row: _order(row.label))}
    classes = tuple(dict.fromkeys(named.values()))
    _check_train(rows, named)
    if len(classes) < 2:
        raise UserError(f"{rows[0].at}: all images are of the class {classes[0]!r}; two classes are wanted at least")
    numbers = {name: number for number, name in enumerate(classes)}
    return classes, [numbers[named[row.label]] for row in rows]


def _order(label: str) -> tuple[bool, int, str]:
    """Numbers first, by their value."""
    digits = label.isascii() and label.isdigit()
    return not digits, int(label) if digits else 0, label


def _check_train(rows: Sequence[Row], named: Mapping[str, str]) -> None:
    there = {named[row.label] for row in rows if row.split in ("", SPLITS[0])}
    lost = next((row for row in rows if named[row.label] not in there), None)
    if lost is not None:
        raise UserError(f"{lost.at}: the class {named[lost.label]!r} has no image in train")


def _known(names: Any) -> dict[str, str]:
    """The name of each label: of a second list by its columns, or the lines of a file, counted from 0."""
    if isinstance(names, str):
        return _lines(home(names))
    table = read(home(names["path"]), header=isinstance(names["label"], str) or isinstance(names["name"], str))
    label, name = (table.index(names[key], f"names: {key}") for key in ("label", "name"))
    found: dict[str, str] = {}
    for number, cells in table.rows:
        if not (cells[label] and cells[name]):
            raise UserError(f"{table.at(number)}: label or name is empty")
        if found.setdefault(cells[label], cells[name]) != cells[name]:
            other = found[cells[label]]
            raise UserError(
                f"{table.at(number)}: the label {cells[label]!r} is {cells[name]!r}, but {other!r} further up"
            )
    return found


def _lines(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise UserError(f"names: no such file: {path}")
    lines = [line.strip() for line in text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if "" in lines:
        raise UserError(
            f"names: {path}, row {lines.index('') + 1}: empty, where the name of class {lines.index('')} is wanted"
        )
    return {str(number): name for number, name in enumerate(lines)}
