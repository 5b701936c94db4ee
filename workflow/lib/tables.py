"""Comparison tables in Markdown, CSV and LaTeX: accuracy in percent, mean ± standard deviation over seeds."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tabulate import tabulate

from workflow.lib.protocol import REGIMES
from workflow.lib.results import Plan, Results, mean_ranks

NA = "n/a"
BOLD = "Best in bold, second best underlined."


@dataclass(frozen=True)
class Number:
    """One number of a table: percent or a rank; `sd` None where there is one value only."""

    mean: float
    sd: float | None = None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.sd is None else f"{self.mean:.2f} ± {self.sd:.2f}"


@dataclass
class Table:
    """Rows by name with a number or None in each column; `lower` lists the columns where less is better."""

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, Sequence[Number | None], Sequence[str]]] = field(default_factory=list)  # name, cells, remarks
    caption: Sequence[str] = ()
    lower: Sequence[str] = ()


def percent(values: Sequence[float]) -> Number | None:
    """Fractions of several seeds as a mean in percent with their (n − 1) standard deviation."""
    if not values:
        return None
    scaled = 100 * np.asarray(values)
    return Number(float(scaled.mean()), float(scaled.std(ddof=1)) if len(scaled) > 1 else None)


def name(row: tuple[str, str]) -> str:
    """The method's label and, where something is swept, the variant."""
    label, variant = row
    return label if variant == "-" else f"{label} ({variant})"


def dataset_table(results: Results, dataset: str, backbone: str) -> Table:
    """Methods by shots for one data set under one backbone."""
    plan = results.plan
    table = Table(f"{dataset}, {backbone}", [_shots(shots) for shots in plan.shots], caption=_caption(plan))
    for row in plan.rows():
        cells = [percent(results.accuracies(dataset, backbone, row, shots)) for shots in plan.shots]
        table.rows.append((name(row), cells, results.remarks(dataset, backbone, row)))
    return table


def summary_table(results: Results) -> Table:
    """Methods by shots, averaged over data sets and backbones, and the mean rank."""
    plan = results.plan
    columns = [*(_shots(shots) for shots in plan.shots), "mean", "mean rank"]
    table = Table(f"{plan.study}: all data sets", columns, caption=_summary_caption(plan), lower=["mean rank"])
    ranks = mean_ranks(results)
    for row in plan.rows():
        averages = [_average(results, row, shots) for shots in plan.shots]
        known = [number.mean for number in averages if number is not None]
        mean = Number(float(np.mean(known))) if len(known) == len(averages) else None
        rank = None if np.isnan(ranks[row]) else Number(ranks[row])
        table.rows.append((name(row), [*averages, mean, rank], _remarks(results, row)))
    return table


def _average(results: Results, row: tuple[str, str], shots: str) -> Number | None:
    """The mean over data sets and backbones of the mean over seeds; None where one of them is missing."""
    plan = results.plan
    cells = [percent(results.accuracies(d, b, row, shots)) for d in plan.datasets for b in plan.backbones]
    known = [cell.mean for cell in cells if cell is not None]
    return Number(float(np.mean(known))) if len(known) == len(cells) else None


def _remarks(results: Results, row: tuple[str, str]) -> list[str]:
    plan = results.plan
    pairs = [(dataset, backbone) for dataset in plan.datasets for backbone in plan.backbones]
    return [f"{d}, {b}: {remark}" for d, b in pairs for remark in results.remarks(d, b, row)]


def _shots(shots: str) -> str:
    return f"{shots} shot" if shots == "1" else f"{shots} shots" if shots.isdigit() else shots


def _caption(plan: Plan) -> list[str]:
    seeds = f"{plan.seeds} seeds" if plan.seeds > 1 else "1 seed"
    spread = "mean ± standard deviation over" if plan.seeds > 1 else "from"
    return [
        f"Top-1 accuracy in percent on {plan.report}, {spread} {seeds}.",
        f"Protocol: report {plan.report}, select {plan.select}: {REGIMES[plan.select]}.",
    ]


def _summary_caption(plan: Plan) -> list[str]:
    pairs = len(plan.datasets) * len(plan.backbones)
    return [
        f"Top-1 accuracy in percent on {plan.report}, averaged over {pairs} pairs of data set and backbone "
        f"(seeds: {plan.seeds}). The rank is among all rows, averaged over pairs and shots: 1 is best.",
        *_caption(plan)[1:],
    ]


def marks(table: Table) -> dict[tuple[int, int], str]:
    """ "best" and "second" by (row, column). What prints alike is marked alike."""
    found = {}
    for j, column in enumerate(table.columns):
        means = {i: round(cell.mean, 2) for i, (_, cells, _) in enumerate(table.rows) if (cell := cells[j])}
        places = sorted(set(means.values()), reverse=column not in table.lower)[:2]
        for i, mean in means.items():
            if mean in places and len(means) > 1:
                found[i, j] = ("best", "second")[places.index(mean)]
    return found


def _grid(table: Table, styles: Mapping[str, str], escape: dict[str, str]) -> list[list[str]]:
    """The rows as text, marked, with the numbers of their footnotes."""
    marked, notes = marks(table), _footnotes(table)
    grid = []
    for i, (label, cells, remarks) in enumerate(table.rows):
        numbers = "".join(f" [{notes.index(remark) + 1}]" for remark in remarks)
        shown = [NA if cell is None else styles[marked.get((i, j), "")].format(cell) for j, cell in enumerate(cells)]
        grid.append(["".join(escape.get(c, c) for c in text) for text in [label + numbers]] + shown)
    return grid


def _footnotes(table: Table) -> list[str]:
    return list(dict.fromkeys(remark for _, _, remarks in table.rows for remark in remarks))


def markdown(table: Table) -> str:
    """A pipe table with a heading, footnotes and caption."""
    styles = {"": "{}", "best": "**{}**", "second": "<u>{}</u>"}
    grid = _grid(table, styles, {})
    align = ("left", *("right" for _ in table.columns))
    body = tabulate(grid, ["method", *table.columns], "pipe", colalign=align, disable_numparse=True)
    notes = [f"[{i}] {note}" for i, note in enumerate(_footnotes(table), 1)]
    lines = "  \n".join([*notes, *table.caption, BOLD])
    return f"## {table.title}\n\n{body}\n\n{lines}\n"


def plain(table: Table) -> str:
    """For the terminal: the best with a star, the second best with a plus."""
    grid = _grid(table, {"": "{}  ", "best": "{} *", "second": "{} +"}, {})
    align = ("left", *("right" for _ in table.columns))
    body = tabulate(
        grid, ["method", *(f"{c}  " for c in table.columns)], "simple", colalign=align, disable_numparse=True
    )
    notes = [f"[{i}] {note}" for i, note in enumerate(_footnotes(table), 1)]
    return "\n".join([table.title, "", body, "", *notes, *table.caption, "* best, + second best", ""])


def latex(table: Table) -> str:
    """A `tabular` in a `table`, for `booktabs`."""
    special = {c: f"\\{c}" for c in "_&%#$"}
    styles = {"": "{}", "best": "\\textbf{{{}}}", "second": "\\underline{{{}}}"}
    grid = [[cell.replace("±", "$\\pm$") for cell in row] for row in _grid(table, styles, special)]
    body = tabulate(grid, ["method", *table.columns], "latex_raw", disable_numparse=True)
    notes = [f"[{i}] {note}." for i, note in enumerate(_footnotes(table), 1)]
    words = " ".join([f"{table.title}.", *table.caption, BOLD, *notes]).replace("±", "$\\pm$").replace("ℓ", "$\\ell$")
    caption = "".join(special.get(c, c) if c != "$" else c for c in words)
    return f"\\begin{{table}}\n\\centering\n{body}\n\\caption{{{caption}}}\n\\end{{table}}\n"


def comma_separated(table: Table) -> str:
    """Means and standard deviations in columns of their own, unmarked; empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", *(heading for column in table.columns for heading in (column, f"{column} sd"))])
    for label, cells, _ in table.rows:
        writer.writerow([label, *(part for cell in cells for part in _parts(cell))])
    return text.getvalue()


def _parts(cell: Number | None) -> tuple[str, str]:
    if cell is None:
        return NA, ""
    return f"{cell.mean:.2f}", "" if cell.sd is None else f"{cell.sd:.2f}"


FORMATS = {"md": markdown, "csv": comma_separated, "tex": latex}
