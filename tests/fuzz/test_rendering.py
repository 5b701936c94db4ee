"""Texts from elsewhere in tables and figures: notes, labels and sources that mean something to a format."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import TEXTS
from tests.reporting import grid
from workflow.lib.errors import one_line
from workflow.lib.reporting import figures, rendering
from workflow.lib.reporting.tables import Number, Table

MARKUP = [
    "a|b",
    "| x |\n|---|",
    "<script>alert(1)</script>",
    "[text](javascript:alert)",
    "**best**",
    "__init__",
    "`code`",
    "# heading",
    "a\\\\b & c % d $ e # f _ g {h} ~i ^j",
    "\\input{/etc/passwd}",
    "$x^2",
    "[1] first",
    "line\n\nbreak",
    "a\tb",
    "=1+1",
    '"quoted", and',
    "\u2028",
]
ANY = st.sampled_from(MARKUP + TEXTS) | st.text(max_size=30)


def table(text: str) -> Table:
    rows = [(text, [Number(1, 0.5), text], [text]), ("b", [Number(2, 0.5), None], [])]
    return Table(text, ["1 shot", text], rows, caption=[text])


@given(text=ANY)
def test_a_text_stays_in_its_cell_of_a_markdown_table(text: str) -> None:
    shown = rendering.markdown(table(text))
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 4 for row in rows)
    assert shown.splitlines() == shown.split("\n")[:-1]
    assert not re.search(r"<(?!/?u>)", shown)
    assert not re.search(r"(?<!\\)(?:\\\\)*\]\(", shown)
    assert shown.replace("\n", "").isprintable()
    shown.encode()


@given(text=ANY)
def test_a_text_stays_in_its_cell_of_a_latex_table(text: str) -> None:
    shown = rendering.latex(table(text))
    bare = re.sub(r"\\(?:[a-zA-Z]+|.)", "", shown.replace("\\\\\n", "\n"))
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~^_]", bare)
    body = [line for line in shown.splitlines() if line.rstrip().endswith("\\\\")]
    assert len(body) == 3
    assert all(len(re.findall(r"(?<!\\)&", line)) == 2 for line in body)
    assert not any(line.lstrip().startswith("[") for line in shown.splitlines())
    commands = set(re.findall(r"\\([a-zA-Z]+)", shown)) - set(
        re.findall(r"\\([a-zA-Z]+)", "".join(rendering.LATEX.values()))
    )
    assert commands <= {"begin", "end", "centering", "hline", "caption", "textbf", "underline", "pm", "dagger"}
    assert "\n\n" not in shown


class Cells(HTMLParser):
    """The texts of a table's cells, row by row, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@given(text=ANY)
def test_a_text_stays_in_its_cell_of_an_html_page(text: str) -> None:
    shown = rendering.web(table(text))
    found = Cells(shown)
    assert [len(row) for row in found.rows] == [3, 3, 3]
    assert found.rows[0][2].strip() == one_line(text).strip()
    known = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "p",
        "b",
        "u",
    }
    assert found.tags <= known
    shown.encode()


@given(text=ANY)
def test_a_text_stays_in_its_field_of_a_csv_file(text: str) -> None:
    shown = rendering.comma_separated(table(text))
    rows = list(csv.reader(io.StringIO(shown, newline="")))
    assert [len(row) for row in rows] == [4, 4, 4]
    assert rows[1][0].splitlines() == text.splitlines()


@given(text=ANY)
def test_the_terminal_gets_no_control_characters(text: str) -> None:
    assert rendering.plain(table(text)).replace("\n", "").isprintable()


@pytest.mark.parametrize("variant", ["a=$x$", "a=$", "a=\\frac{", "a=<b>&", "a=100 %", "_", "a=" + "x" * 500])
def test_a_figure_shows_every_row_by_its_name_as_it_is(tmp_path: Path, variant: str) -> None:
    methods = [{"label": label, "variants": [variant], "learns": True} for label in ("_hidden", "probe")]
    cells = {("digits", "nano", m["label"], s): {variant: [0.5, 0.6]} for m in methods for s in ("1", "all")}
    found = grid.results(cells, methods=methods, datasets=["digits"])
    path = tmp_path / "f.svg"
    figures.write(figures.accuracy_figure(found, "digits", "nano"), path)
    shown = " ".join(node.text or "" for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"))
    assert f"_hidden ({variant})" in shown
    assert f"probe ({variant})" in shown
