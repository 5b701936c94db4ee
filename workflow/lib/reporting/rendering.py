"""Tables as text: Markdown, LaTeX, CSV, and plain for the terminal."""

import csv
import html
import io
import re
from collections.abc import Callable, Mapping
from itertools import chain

from tabulate import tabulate

from workflow.lib.errors import one_line
from workflow.lib.reporting.tables import NA, Cell, Number, Table

Escape = Callable[[str], str]


def marks(table: Table) -> dict[tuple[int, int], str]:
    """ "best" and "second" by (row, column). What prints alike is marked alike."""
    found = {}
    for j, column in enumerate(table.columns):
        means = {
            i: round(cell.mean, 2) for i, (_, cells, _) in enumerate(table.rows) if isinstance(cell := cells[j], Number)
        }
        places = sorted(set(means.values()), reverse=column not in table.lower)[:2]
        for i, mean in means.items():
            if mean in places and len(means) > 1:
                found[i, j] = ("best", "second")[places.index(mean)]
    return found


def _grid(table: Table, styles: Mapping[str, str], escape: Escape) -> list[list[str]]:
    """The rows as text, marked, with the numbers of their footnotes."""
    marked, notes = marks(table), _footnotes(table)
    grid = []
    for i, (label, cells, remarks) in enumerate(table.rows):
        numbers = "".join(f" [{notes.index(remark) + 1}]" for remark in remarks)
        texts = [escape(cell) if isinstance(cell, str) else NA if cell is None else cell for cell in cells]
        shown = [styles[marked.get((i, j), "")].format(text) for j, text in enumerate(texts)]
        grid.append([(escape(label) or "-") + numbers, *shown])
    return grid


def _legend(table: Table, text: str = "Best in bold, second best underlined.") -> list[str]:
    """What the marks mean, where there are any."""
    return [text] if marks(table) else []


def _footnotes(table: Table) -> list[str]:
    return list(dict.fromkeys(remark for _, _, remarks in table.rows for remark in remarks))


def in_markdown(text: str) -> str:
    """A text in one line in which nothing means something to Markdown; an underscore inside a word never does."""
    escaped = re.sub(r"[\\`*|\[\]~]", r"\\\g<0>", html.escape(one_line(text), quote=False))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def markdown(table: Table) -> str:
    """A pipe table with a heading, footnotes and caption."""
    styles = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}
    grid = _grid(table, styles, in_markdown)
    align = ("left", *("right" for _ in table.columns))
    headings = ["method", *(in_markdown(column) for column in table.columns)]
    body = tabulate(grid, headings, "pipe", colalign=align, disable_numparse=True)
    notes = [f"[{i}] {in_markdown(note)}" for i, note in enumerate(_footnotes(table), 1)]
    lines = "  \n".join([*notes, *(in_markdown(line) for line in table.caption), *_legend(table)])
    return f"## {in_markdown(table.title)}\n\n{body}\n\n{lines}\n"


def plain(table: Table) -> str:
    """For the terminal: the best with a star, the second best with a plus."""
    grid = _grid(table, {"": "{}", "best": "*{}", "second": "+{}"}, one_line)
    align = ("left", *("right" for _ in table.columns))
    headings = ["method", *map(one_line, table.columns)]
    body = tabulate(grid, headings, "simple", colalign=align, disable_numparse=True)
    notes = [f"[{i}] {one_line(note)}" for i, note in enumerate(_footnotes(table), 1)]
    lines = [*notes, *map(one_line, table.caption), *_legend(table, "* best, + second best")]
    return "\n".join([one_line(table.title), "", body, "", *lines, ""])


LATEX = {character: f"\\{character}" for character in "_&%#${}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": "$\\pm$",
    "†": "$\\dagger$",
    "×": "$\\times$",
    "≤": "$\\leq$",
    "≥": "$\\geq$",
    "→": "$\\to$",
    "−": "$-$",
    "ℓ": "$\\ell$",
    "α": "$\\alpha$",
    "β": "$\\beta$",
    "γ": "$\\gamma$",
    "λ": "$\\lambda$",
    "μ": "$\\mu$",
    "Σ": "$\\Sigma$",
    "[": "{[}",  # at the start of a row it would be an argument of the line break before it
}


def _latex(text: str) -> str:
    """A text in one line in which nothing means something to LaTeX."""
    return "".join(LATEX.get(character, character) for character in one_line(text))


def latex(table: Table) -> str:
    """A `tabular` in a `table`; needs no package."""
    styles = {"": "{}", "best": "\\textbf{{{}}}", "second": "\\underline{{{}}}"}
    grid = [
        [label, *(cell.replace("±", LATEX["±"]).replace("†", LATEX["†"]) for cell in cells)]
        for label, *cells in _grid(table, styles, _latex)
    ]
    headings = ["method", *(_latex(column) for column in table.columns)]
    body = tabulate(grid, headings, "latex_raw", disable_numparse=True)
    notes = [f"[{i}] {note}." for i, note in enumerate(_footnotes(table), 1)]
    caption = _latex(" ".join([f"{table.title}.", *table.caption, *_legend(table), *notes]))
    return f"\\begin{{table}}\n\\centering\n{body}\n\\caption{{{caption}}}\n\\end{{table}}\n"


def comma_separated(table: Table) -> str:
    """Means and standard deviations in columns of their own, unmarked; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spread = [
        any(isinstance(cell := row[1][j], Number) and cell.sd is not None for row in table.rows)
        for j in range(len(table.columns))
    ]
    headings = [[c, f"{c} sd"] if s else [c] for c, s in zip(table.columns, spread, strict=True)]
    writer.writerow(["method", *chain(*headings)])
    for label, cells, _ in table.rows:
        writer.writerow([label, *chain(*(_parts(cell, sd) for cell, sd in zip(cells, spread, strict=True)))])
    return text.getvalue()


def _parts(cell: Cell, spread: bool) -> list[str]:
    """One cell's columns: the mean, and the standard deviation where the column has any."""
    if isinstance(cell, Number):
        parts = [f"{cell.mean:.2f}", "" if cell.sd is None else f"{cell.sd:.2f}"]
    else:
        parts = [NA if cell is None else cell, ""]
    return parts if spread else parts[:1]


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 4px 12px; border-bottom: 1px solid #8885; text-align: right; }}
:is(th, td):first-child {{ text-align: left; }}
</style></head><body>
<h1>{title}</h1>
{table}
{notes}
</body></html>
"""


def web(table: Table) -> str:
    """A page for a browser: what `snakemake --report` shows of a table."""
    grid = _grid(table, {"": "{}", "best": "<b>{}</b>", "second": "<u>{}</u>"}, _html)
    body = tabulate(grid, ["method", *map(_html, table.columns)], "unsafehtml", disable_numparse=True)
    lines = [*(f"[{i}] {note}" for i, note in enumerate(_footnotes(table), 1)), *table.caption, *_legend(table)]
    return PAGE.format(title=_html(table.title), table=body, notes="\n".join(f"<p>{_html(line)}</p>" for line in lines))


def _html(text: str) -> str:
    return html.escape(one_line(text))


FORMATS = {"md": markdown, "csv": comma_separated, "tex": latex, "html": web}
