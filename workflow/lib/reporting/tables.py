"""The tables of a study: accuracy in percent, mean ± standard deviation over seeds. `rendering` makes them text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workflow.lib.evaluation.protocol import REGIMES
from workflow.lib.features.duplicates import Report
from workflow.lib.reporting.comparison import Place, Ring, Row, Score
from workflow.lib.reporting.results import Plan, Results, mean_ranks

NA = "n/a"


@dataclass(frozen=True)
class Number:
    """One number of a table: percent or a rank; `sd` None where there is one value only.

    `level` says that a test could not tell it from the best of its column.
    """

    mean: float
    sd: float | None = None
    level: bool = False

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.2f}"
        return f"{self.mean:.2f}{spread}{' †' if self.level else ''}"


Cell = Number | str | None


@dataclass
class Table:
    """Rows by name with a cell for each column: a number, a text that isn't marked, or None for n/a.

    `lower` lists the columns where less is better.
    """

    title: str
    columns: Sequence[str]
    rows: list[tuple[str, Sequence[Cell], Sequence[str]]] = field(default_factory=list)  # name, cells, remarks
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


LEVEL = (
    "† not to be told from the best of its column: paired bootstrap over seeds and images, at a false discovery rate "
    "of 5 % over the table."
)


def dataset_table(
    results: Results,
    dataset: str,
    backbone: str,
    level: Collection[tuple[Place, Row]] | None = None,
    doubles: Report | None = None,
) -> Table:
    """Methods by shots for one data set under one backbone; on request a column of the mean peeking gap.

    `level` lists what can't be told from the best of its column; None where that was not tested. `doubles` are the
    images that stand in two splits.
    """
    plan = results.plan
    described = [*caption(plan), *results.prompts(dataset, backbone), *results.missing_images(dataset, backbone)]
    table = Table(f"{dataset}, {backbone}", [shots_heading(shots) for shots in plan.shots], caption=described)
    for row in plan.rows():
        cells: list[Cell] = []
        for shots in plan.shots:
            number = percent(results.accuracies(dataset, backbone, row, shots))
            tied = level is not None and ((dataset, backbone, shots), row) in level
            cells.append(replace(number, level=tied) if number else None)
        if plan.peeking_gap:
            cells.append(_mean_gap(results, [(dataset, backbone)], row))
        table.rows.append((name(row), cells, results.remarks(dataset, backbone, row)))
    if level is not None:
        table.caption = [*table.caption, LEVEL]
    if doubles is not None:
        table.caption = [*table.caption, *shared_images(doubles)]
    if plan.peeking_gap:
        table.columns = [*table.columns, "peeking gap"]
        table.caption = [*table.caption, peeking_caption(plan)]
    return table


def shared_images(doubles: Report) -> list[str]:
    """A line for every two splits with images in common, exact or near; none where there are none."""
    lines = []
    for one in doubles.shared:
        first, second = one.splits
        is_, looks = ("is" if one.exact == 1 else "are"), ("looks" if one.near == 1 else "look")
        exact = f"{one.exact} {is_} in {first} too, byte for byte" if one.exact else ""
        near = f"{one.near} {looks} like one in {first} (cosine of features at least {doubles.bound:.4f})"
        near = near if one.near > 0 else ""
        if exact or near:
            lines.append(f"Of the images of {second}, {' and '.join(filter(None, [exact, near]))}.")
    return [*lines, "They are listed by python -m workflow.scripts.duplicates."] if lines else []


def regimes_table(results: Results, dataset: str, backbone: str) -> Table:
    """Methods by shots, every regime of the study side by side."""
    plan = results.plan
    regimes = [plan.select, *plan.also]
    columns = [f"{shots_heading(shots)}, {regime}" for shots in plan.shots for regime in regimes]
    table = Table(f"{dataset}, {backbone}: by regime", columns)
    for row in plan.rows():
        cells = [
            percent(results.accuracies(dataset, backbone, row, s, regime)) for s in plan.shots for regime in regimes
        ]
        table.rows.append((name(row), cells, results.remarks(dataset, backbone, row)))
    table.caption = [caption(plan)[0], *(f"{regime}: {REGIMES[regime]}." for regime in regimes)]
    return table


PEEKING = (
    "Peeking gap: the best accuracy over epochs or grid points on the reported split itself, minus that of the last "
    "epoch or the default, in points: what choosing on the reported split adds."
)


def peeking_caption(plan: Plan) -> str:
    """What the peeking gap is, and over which epochs."""
    thinned = (
        f" Of each training at most {plan.curve} epochs were scored; over all of them the gap is at least as large."
    )
    return PEEKING + (thinned if plan.curve else "")


def peeking_table(results: Results) -> Table:
    """The peeking gap by shots, averaged over data sets and backbones, of the rows that have a curve."""
    plan = results.plan
    columns = [*(shots_heading(shots) for shots in plan.shots), "mean"]
    table = Table(f"{plan.study}: peeking gap", columns, caption=[peeking_caption(plan)])
    pairs = [(dataset, backbone) for dataset in plan.datasets for backbone in plan.backbones]
    for row in plan.rows():
        cells = [_mean_gap(results, pairs, row, [shots]) for shots in plan.shots]
        if any(cells):
            table.rows.append((name(row), [*cells, _mean_gap(results, pairs, row)], []))
    return table


def _mean_gap(
    results: Results, pairs: Sequence[tuple[str, str]], row: Row, shots: Sequence[str] | None = None
) -> str | None:
    """The mean gap in points as a text: it isn't ranked. None where there is no curve."""
    columns = results.plan.shots if shots is None else shots
    gaps = [gap for d, b in pairs for s in columns for gap in results.peeking_gaps(d, b, row, s)]
    return f"{100 * float(np.mean(gaps)):+.2f}" if gaps else None


def summary_table(results: Results) -> Table:
    """Methods by shots, averaged over data sets and backbones, and the mean rank."""
    plan = results.plan
    columns = [*(shots_heading(shots) for shots in plan.shots), "mean", "mean rank"]
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
    where: dict[str, list[str]] = {}
    for dataset, backbone in pairs:
        for remark in results.remarks(dataset, backbone, row):
            where.setdefault(remark, []).append(f"{dataset}, {backbone}: {remark}")
    return [line for remark, lines in where.items() for line in ([remark] if len(lines) == len(pairs) > 1 else lines)]


def shots_heading(shots: str) -> str:
    """`1 shot`, `5 shots`, `all`."""
    return f"{shots} shot" if shots == "1" else f"{shots} shots" if shots.isdigit() else shots


def caption(plan: Plan) -> list[str]:
    """What the numbers are, and the protocol that they were taken under."""
    seeds = f"{plan.seeds} seeds" if plan.seeds > 1 else "1 seed"
    spread = "mean ± standard deviation over" if plan.seeds > 1 else "from"
    return [
        f"Top-1 accuracy in percent on {plan.report}, {spread} {seeds}.",
        f"Protocol: report {plan.report}, select {plan.select}: {REGIMES[plan.select]}.",
    ]


def _summary_caption(plan: Plan) -> list[str]:
    pairs = len(plan.datasets) * len(plan.backbones)
    averaged = f"averaged over {pairs} pair{'s' * (pairs != 1)} of data set and backbone"
    return [
        f"Top-1 accuracy in percent on {plan.report}, {averaged} "
        f"(seeds: {plan.seeds}). The rank is among all rows, averaged over pairs and shots: 1 is best.",
        *caption(plan)[1:],
    ]


def intervals_table(plan: Plan, places: Mapping[Place, Ring], dataset: str, backbone: str) -> Table:
    """The 95 % interval of every row's accuracy, by shots."""
    table = Table(f"{dataset}, {backbone}: 95 % intervals", [shots_heading(shots) for shots in plan.shots])
    rings = [places.get((dataset, backbone, shots)) for shots in plan.shots]
    for row in plan.rows():
        table.rows.append((name(row), [_interval(ring, row) for ring in rings], []))
    table.caption = [
        f"Top-1 accuracy in percent on {plan.report}: bootstrap over seeds ({plan.seeds}) and images.",
        *caption(plan)[1:],
    ]
    return table


def _interval(ring: Ring | None, row: Row) -> str | None:
    """`24.93 to 28.06`, or None where the row was not run."""
    if ring is None or row not in ring.rows:
        return None
    low, high = ring.bootstrap.interval(list(ring.rows).index(row))
    return f"{100 * low:.2f} to {100 * high:.2f}"


def comparison_table(results: Results, scores: Mapping[tuple[Row, Row], Score]) -> Table:
    """Wins, ties and losses of each row against each other over all data sets, backbones and shots."""
    plan, rows = results.plan, results.plan.rows()
    table = Table(f"{plan.study}: wins/ties/losses", [str(i) for i in range(1, len(rows) + 1)])
    for i, row in enumerate(rows, 1):
        cells = ["" if row == other else str(scores.get((row, other), NA)) for other in rows]
        table.rows.append((f"{i} {name(row)}", cells, []))
    table.caption = [
        "The row against the column, in each data set, backbone and number of shots: won/undecided/lost. Paired "
        "bootstrap over seeds and images, at a false discovery rate of 5 % over the whole matrix.",
        *caption(plan)[1:],
    ]
    return table
