"""Is row A better than row B, by how much, how sure: from the saved predictions of a study that has been run.

A and B are rows of the study's tables: `linear_probe (batch_norm=true)`, or just a method's label where it has one row.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from methods.contract.params import nearest
from workflow.lib.errors import UserError
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import comparison
from workflow.lib.reporting.comparison import Place, Ring, Row
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.statistics import Difference, significant
from workflow.lib.reporting.tables import name


def main() -> None:
    arguments = _arguments()
    plan = Plan.read(arguments.results)
    a, b = (_row(plan, text) for text in (arguments.a, arguments.b))
    places = comparison.rings(plan, arguments.results, [a, b])
    found = {place: one for place, ring in places.items() if (one := ring.difference(a, b)) is not None}
    if not found:
        raise UserError(f"{arguments.results}: '{name(a)}' and '{name(b)}' were never run on the same cell")
    print(report(plan, places, found, a, b))


def report(plan: Plan, places: dict[Place, Ring], found: dict[Place, Difference], a: Row, b: Row) -> str:
    """The differences place by place, and the answer over all of them."""
    marks = significant(list(found.values()))
    rows = [_line(places[at], at, one, a, b, mark) for (at, one), mark in zip(found.items(), marks, strict=True)]
    header = ["data set", "backbone", "shots", "A", "B", "A - B", "95 % interval", "p", "verdict"]
    lines = [
        f"A: {name(a)}",
        f"B: {name(b)}",
        "",
        tabulate(rows, header, "simple", disable_numparse=True, colalign=("left", "left", *["right"] * 6, "left")),
        "",
        f"Accuracy in percent on {plan.report}, select {plan.select}, {plan.seeds} seeds. Paired bootstrap over seeds",
        "and images; verdicts at a false discovery rate of 5 %.",
        *_answer(places, found, marks, a, b),
    ]
    return "\n".join(lines)


def _line(ring: Ring, place: Place, one: Difference, a: Row, b: Row, mark: bool) -> list[str]:
    mean = {row: 100 * float(ring.bootstrap.observed[ring.rows.index(row)]) for row in (a, b)}
    verdict = ("A is better" if one.mean > 0 else "B is better") if mark else "undecided"
    interval = f"{100 * one.low:+.2f} … {100 * one.high:+.2f}"
    return [*place, f"{mean[a]:.2f}", f"{mean[b]:.2f}", f"{100 * one.mean:+.2f}", interval, f"{one.p:.3f}", verdict]


def _answer(places: dict[Place, Ring], found: dict[Place, Difference], marks: list[bool], a: Row, b: Row) -> list[str]:
    signs = [(1 if one.mean > 0 else -1) if mark else 0 for one, mark in zip(found.values(), marks, strict=True)]
    better, worse, open_ = (signs.count(sign) for sign in (1, -1, 0))
    lines = [f"A is better in {better}, worse in {worse}, undecided in {open_} of {len(found)} cells."]
    if (mean := comparison.overall(places, a, b)) is not None:
        interval = f"{100 * mean.low:+.2f} … {100 * mean.high:+.2f}"
        lines.append(f"On average A - B = {100 * mean.mean:+.2f} points, 95 % interval {interval}.")
    return lines


def _row(plan: Plan, text: str) -> Row:
    """The row of a study that a user means."""
    rows = {name(row): row for row in plan.rows()}
    labelled = [row for row in plan.rows() if row[0] == text]
    if text in rows or len(labelled) == 1:
        return rows.get(text) or labelled[0]
    if labelled:
        raise UserError(f"'{text}' has several rows: {', '.join(name(row) for row in labelled)}")
    raise UserError(f"no row '{text}' in the study {plan.study}; there are {', '.join(rows)}{nearest(text, rows)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.compare", description=__doc__)
    parser.add_argument("a", help="a row of the study")
    parser.add_argument("b", help="the row to compare it with")
    parser.add_argument("--results", type=Path, default=Path("results/quickstart"), help="folder of a study's results")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
