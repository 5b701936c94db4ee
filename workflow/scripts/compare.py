"""Is row A better than row B, by how much, how sure: from the saved predictions of studies that have been run.

A and B are rows of the studies' tables: `linear_probe (batch_norm=true)`, or just a method's label if that has one row.
Of several studies, each must have both; the answer is over all of their datasets, backbones and shots.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from methods.contract.params import nearest
from workflow.lib.errors import UserError
from workflow.lib.evaluation.scoring import METRICS
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import balance, comparison
from workflow.lib.reporting.comparison import Place, Predictions, Row
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.statistics import Bootstrap, Difference, pooled, significant
from workflow.lib.reporting.tables import name, protocol


@dataclass(frozen=True)
class Entry:
    """A study that takes part: where it lies, its plan, and which of its rows are compared."""

    folder: Path
    plan: Plan
    a: Row
    b: Row


@dataclass(frozen=True)
class Meeting:
    """A place of a study where both rows were run, A first, B second."""

    study: str
    place: Place
    drawn: Bootstrap

    @property
    def difference(self) -> Difference:
        return self.drawn.difference(0, 1)


def main() -> None:
    arguments = _arguments()
    entries = [_entry(folder, arguments.a, arguments.b) for folder in arguments.results]
    if arguments.dataset:
        entries = _only(entries, arguments.dataset)
    print("\n\n".join(report(entries, metric) for metric in _metrics(entries, arguments.metric)))


def _entry(folder: Path, a: str, b: str) -> Entry:
    plan = Plan.read(folder)
    found = Entry(folder, plan, _row(plan, a), _row(plan, b))
    if found.a == found.b:
        raise UserError(f"'{a}' and '{b}' are one row of the study {plan.study}; allowed: two rows")
    return found


def _only(entries: Sequence[Entry], wanted: Sequence[str]) -> list[Entry]:
    """The studies with no datasets but these."""
    known = list(dict.fromkeys(dataset for entry in entries for dataset in entry.plan.datasets))
    if unknown := next((one for one in wanted if one not in known), None):
        raise UserError(f"--dataset: no study has '{unknown}'; there are {', '.join(known)}{nearest(unknown, known)}")
    plans = [Plan(**{**vars(e.plan), "datasets": [d for d in e.plan.datasets if d in wanted]}) for e in entries]
    return [Entry(e.folder, plan, e.a, e.b) for e, plan in zip(entries, plans, strict=True)]


def _metrics(entries: Sequence[Entry], asked: str) -> list[str]:
    """What is compared: the metric that was asked for, or the studies' own; without one, on unequal classes, two."""
    of = {entry.plan.study: entry.plan.by for entry in entries}
    if not asked and len(set(of.values())) > 1:
        told = ", ".join(f"{study} {metric}" for study, metric in of.items())
        raise UserError(f"the studies have different metrics: {told}; say which one with --metric")
    if asked or any(entry.plan.metric for entry in entries):
        return [asked or entries[0].plan.by]
    shown = [balance.shown(e.plan, _predictions(e, "accuracy"), e.plan.pairs()) for e in entries]
    return max(shown, key=len)


def _predictions(entry: Entry, metric: str) -> Predictions:
    wanted = [key for key in entry.plan.cells() if key[2] in (entry.a[0], entry.b[0])]
    there = [key for key in wanted if entry.plan.path(entry.folder, *key).exists()]
    return comparison.gather(entry.plan, entry.folder, metric, there)


def _meetings(entry: Entry, metric: str) -> list[Meeting]:
    rows = [entry.a, entry.b]
    found = comparison.drawn(entry.plan, _predictions(entry, metric), metric, rows)
    return [Meeting(entry.plan.study, place, one) for place, there, one in found if there == rows]


def report(entries: Sequence[Entry], metric: str) -> str:
    """The differences place by place, and the answer over all of them."""
    found = [meeting for entry in entries for meeting in _meetings(entry, metric)]
    a, b = (name(row) for row in (entries[0].a, entries[0].b))
    if not found:
        where = ", ".join(str(entry.folder) for entry in entries)
        raise UserError(f"{where}: '{a}' and '{b}' were never run on the same cell")
    differences = [meeting.difference for meeting in found]
    marks = significant(differences)
    several = len(entries) > 1
    rows = [_line(*one, several) for one in zip(found, differences, marks, strict=True)]
    header = [*(["study"] if several else []), "dataset", "backbone", "shots", "A", "B", "A - B", "95 % interval", "p"]
    align = [*["left"] * (2 + several), *["right"] * 6, "left"]
    lines = [
        f"A: {a}",
        f"B: {b}",
        "",
        tabulate(rows, [*header, "verdict"], "simple", disable_numparse=True, colalign=align),
        "",
        f"{METRICS[metric]} in percent, paired over seeds and images; verdicts at a false discovery rate of 5 %.",
        *(_said(entry.plan, several) for entry in entries),
        *_answer(found, differences, marks),
    ]
    return "\n".join(lines)


def _said(plan: Plan, several: bool) -> str:
    return (f"{plan.study}: " if several else "") + f"{protocol(plan)} Seeds: {plan.seeds}."


def _line(met: Meeting, one: Difference, mark: bool, several: bool) -> list[str]:
    verdict = ("A is better" if one.mean > 0 else "B is better") if mark else "undecided"
    interval = f"{100 * one.low:+.2f} … {100 * one.high:+.2f}"
    means = [f"{100 * mean:.2f}" for mean in met.drawn.observed.tolist()]
    place = [*([met.study] if several else []), *met.place]
    return [*place, *means, f"{100 * one.mean:+.2f}", interval, _p(one.p), verdict]


def _p(p: float) -> str:
    """Three digits; below the first of them, four."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.4f}"


def _answer(found: Sequence[Meeting], differences: Sequence[Difference], marks: Sequence[bool]) -> list[str]:
    signs = [(1 if one.mean > 0 else -1) if mark else 0 for one, mark in zip(differences, marks, strict=True)]
    better, worse, open_ = (signs.count(sign) for sign in (1, -1, 0))
    mean = pooled([(met.place[0], met.drawn, 0, 1) for met in found])
    interval = f"{100 * mean.low:+.2f} … {100 * mean.high:+.2f}"
    return [
        f"A is better in {better}, worse in {worse}, undecided in {open_} of {len(found)} cells.",
        f"On average A - B = {100 * mean.mean:+.2f} points, 95 % interval {interval}, p = {_p(mean.p)}: of these "
        "datasets, whatever the seeds and images; another dataset may say otherwise.",
    ]


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
    parser.add_argument("a", help="a row of the studies")
    parser.add_argument("b", help="the row to compare it with")
    parser.add_argument(
        "--results",
        nargs="+",
        type=Path,
        default=[Path("results/quickstart")],
        metavar="FOLDER",
        help="folders of studies' results (default: results/quickstart)",
    )
    parser.add_argument("--dataset", nargs="+", default=[], metavar="NAME", help="these datasets alone")
    parser.add_argument("--metric", choices=list(METRICS), default="", help="in place of the studies' own")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
