"""Published numbers in CSV: a number as it stands in the file, or one line that names the file."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import TEXTS, TRAPS, damaged, outcome
from tests.reporting import grid
from workflow.lib.errors import UserError
from workflow.lib.reporting import references, rendering

LINE = ["probes", "probe", "scale=none", "digits", "nano", "1", "35.50", "best epoch", "a paper"]
OTHER = ["zero-shot", "zero_shot", "", "digits", "nano", "0", "50.5", "", "a paper, page 3"]


def text(*lines: list[Any]) -> bytes:
    """A file of published numbers."""
    file = io.StringIO()
    csv.writer(file).writerows([references.COLUMNS, *lines])
    return file.getvalue().encode("utf-8", "surrogatepass")


def check(path: Path, content: bytes) -> list[references.Published] | None:
    """Read and render; an accuracy that is accepted is one that the file has."""
    path.write_bytes(content)
    found = outcome(lambda: references.read(path), path)
    for one in found or []:
        assert 0 <= one.accuracy <= 100
        assert one.shots == "all" or int(one.shots) >= 0
    if found:
        made = outcome(lambda: references.table(grid.results(), "digits", "nano", found), "references.digits.nano")
        for render in rendering.FORMATS.values() if made else ():
            assert render(made)
    return found


def test_the_right_one_is_read(tmp_path: Path) -> None:
    found = check(tmp_path / "p.csv", text(LINE, OTHER))
    assert found is not None
    assert [(one.method, one.shots, one.accuracy) for one in found] == [("probe", "1", 35.5), ("zero_shot", "0", 50.5)]


def test_a_mark_at_the_start_as_spreadsheets_put_it_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert check(tmp_path / "p.csv", b"\xef\xbb\xbf" + text(LINE)) == check(tmp_path / "q.csv", text(LINE))


@given(column=st.integers(0, len(LINE) - 1), value=st.sampled_from(TEXTS) | st.text(max_size=20))
def test_any_text_in_any_column(tmp_path: Path, column: int, value: str) -> None:
    line = [*LINE[:column], value, *LINE[column + 1 :]]
    found = check(tmp_path / "p.csv", text(line, OTHER))
    if found is not None and references.COLUMNS[column] == "accuracy_percent":
        assert found[0].accuracy == float(value)


@given(content=damaged(text(LINE, OTHER)))
def test_damaged_bytes(tmp_path: Path, content: bytes) -> None:
    check(tmp_path / "p.csv", content)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_table_at_all(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "p.csv", content) is None


@pytest.mark.parametrize(
    "line", [LINE[:4], [*LINE, "more"], [*LINE[:2], "a=1; a=2", *LINE[3:]], [*LINE[:5], "one", *LINE[6:]]]
)
def test_a_line_of_another_form(tmp_path: Path, line: list[str]) -> None:
    assert check(tmp_path / "p.csv", text(line)) is None


def test_of_two_numbers_for_one_place_none_wins_silently(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(text(LINE, [*LINE[:6], "99.9", *LINE[7:]]))
    with pytest.raises(UserError, match=r"references\.digits\.nano: two numbers for 'probe scale=none' with '1' shots"):
        references.table(grid.results(), "digits", "nano", references.read(path))


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    assert outcome(lambda: references.read(tmp_path), tmp_path) is None
