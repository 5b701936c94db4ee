"""Lists of images as people have them: CSV, TSV, JSON lines or Parquet, read into rows of text with their numbers."""

from __future__ import annotations

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.contract.params import brief, nearest
from workflow.lib.errors import UserError, one_line

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " "}
Cells = Sequence[str]
Column = str | int  # a name in the header, or a number from 1


class NoText(str):
    """A cell that holds a list, an object or bytes: the type of it. Harmless in a column that nobody wants."""


@dataclass(frozen=True)
class Table:
    """The rows of a list `(number, cells)`, each cell stripped, and the names of its columns; empty without a header.

    A row's number is the line of the file where it begins, as editors and spreadsheets count; in Parquet, where there
    are no lines, rows are counted from 1.
    """

    path: Path
    header: Cells
    rows: Sequence[tuple[int, Cells]]

    def at(self, number: int) -> str:
        """`photos.csv, row 17`: how errors begin."""
        return f"{self.path}, row {number}"

    def index(self, column: Column, option: str) -> int:
        """The place of a column. Raises `UserError`, with the option that names it, where there is none."""
        width = len(self.header) or max((len(cells) for _, cells in self.rows), default=0)
        if isinstance(column, int):
            if not 1 <= column <= width:
                raise UserError(f"{option}: found {column}, but {self.path} has {width} columns, counted from 1")
            return column - 1
        if not self.header:
            raise UserError(f"{option}: {self.path} is read without a header; give the number of a column, from 1")
        if column not in self.header:
            there = ", ".join(map(repr, self.header))
            raise UserError(
                f"{option}: {self.path} has no column '{column}'; it has {there}{nearest(column, self.header)}"
            )
        return self.header.index(column)


def read(path: Path, header: bool = True, delimiter: str | None = None) -> Table:
    """The list in `path`, by its suffix. `delimiter` is one of `DELIMITERS`, found out if it isn't said.

    Raises `UserError` where the file is missing, of no known kind, not in UTF-8 (or UTF-16 with its mark), or a row has
    more or fewer cells than the first.
    """
    if not path.is_file():
        raise UserError(f"path: no such file: {path}")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"path: {path} is no list that can be read; allowed: {', '.join(_READERS)}")
    table = reader(path, header, delimiter)
    if not table.rows:
        raise UserError(f"path: {path} has no rows" + (" below its header" if table.header else ""))
    return table


def text(path: Path) -> str:
    """A text file's content without the mark of its encoding. Raises `UserError` where it is in none of Unicode's."""
    content = path.read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # Excel's "Unicode text"
    try:
        return content.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, row {line}: not UTF-8; save the list as UTF-8 (in Excel: 'CSV UTF-8')") from None


def _delimited(path: Path, header: bool, delimiter: str | None) -> Table:
    content = text(path)
    kind = DELIMITERS[delimiter] if delimiter else _delimiter(path, content)
    rows = list(_cells(path, content, kind))
    names = rows[0][1] if header and rows else ()
    body = rows[1:] if header else rows
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{path}, row {rows[0][0]}: two columns are named {repeated[0]!r}; name them apart")
    width = len(rows[0][1]) if rows else 0
    for number, cells in body:
        if len(cells) != width:
            quote = f"; a cell with a {_name(kind)} in it wants double quotes" if len(cells) > width else ""
            raise UserError(f"{path}, row {number}: {len(cells)} cells, where the first row has {width}{quote}")
    return Table(path, names, body)


def _delimiter(path: Path, content: str) -> str:
    """A tab in a .tsv; elsewhere what the first line has most of."""
    first = next((line for line in content.splitlines() if line.strip()), "")
    if path.suffix.lower() == ".tsv":
        return "\t"
    best = max((",", ";", "\t"), key=first.count)
    return best if best in first or " " not in first.strip() or path.suffix.lower() == ".csv" else " "


def _name(kind: str) -> str:
    return next(name for name, sign in DELIMITERS.items() if sign == kind)


def _cells(path: Path, content: str, kind: str) -> Iterator[tuple[int, Cells]]:
    """The rows that are not blank, each with the line where it begins."""
    reader = csv.reader(content.splitlines(keepends=True), delimiter=kind, skipinitialspace=True, strict=True)
    end = 0
    while True:
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}, row {end + 1}: not to be read as a table ({one_line(error)})") from None
        begin, end = end + 1, reader.line_num
        if any(cells):
            yield begin, cells


def _json_lines(path: Path, header: bool, delimiter: str | None) -> Table:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(text(path).splitlines(), 1):
        if line.strip():
            rows.append((number, _object(path, number, line)))
    return _records(path, rows)


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, row {number}: no JSON ({one_line(error)}); one object a line is wanted") from None
    if not isinstance(found, dict):
        raise UserError(f'{path}, row {number}: found {brief(found)}, where an object is wanted: {{"image": …}}')
    return found


def _parquet(path: Path, header: bool, delimiter: str | None) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"path: {path}: reading Parquet needs pyarrow, which is not installed: python -m pip install pyarrow, or "
            "save the list as CSV"
        ) from None
    try:
        found = parquet.read_table(path).to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise UserError(f"path: {path}: no Parquet that can be read ({one_line(error)})") from None
    return _records(path, list(enumerate(found, 1)))


def _records(path: Path, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Table:
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    return Table(path, names, [(number, [_text(row.get(n)) for n in names]) for number, row in rows])


def _text(value: Any) -> str:
    """A value as a cell; what is missing is empty."""
    if value is None or value != value:  # NaN is not equal to itself
        return ""
    if isinstance(value, dict | list | bytes):
        return NoText(type(value).__name__)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a column of whole numbers with a gap comes as floats
    return str(value).strip()


_READERS: Mapping[str, Callable[[Path, bool, str | None], Table]] = {
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _delimited,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}


def home(path: str) -> Path:
    """A path of the study file, `~` written out."""
    return Path(os.path.expanduser(path))
