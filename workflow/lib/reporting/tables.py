"""The tables of a dataset: the metric in percent, mean ± standard deviation over seeds. `rendering` makes them text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from workflow.lib.evaluation.protocol import REGIMES
from workflow.lib.evaluation.scoring import METRICS
from workflow.lib.features.duplicates import Report
from workflow.lib.reporting import balance
from workflow.lib.reporting.comparison import Place, Predictions, Row
from workflow.lib.reporting.results import Plan, Results

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
    "† not distinguishable from the best of its column: paired over seeds and images, at a false discovery rate of 5 % "
    "over the table."
)
Level = Mapping[str, Collection[tuple[Place, Row]]]  # by metric, what can't be distinguished from the best of its place
MAJORITY = "majority"


def dataset_table(
    results: Results, dataset: str, backbone: str, level: Level | None = None, predictions: Predictions | None = None
) -> Table:
    """Methods by shots for one dataset under one backbone; on request a column of the mean peeking gap.

    `level` is None where nothing was tested. What classes of unequal size need to be said of is known from predictions.
    """
    plan, pair, known = results.plan, (dataset, backbone), predictions or {}
    metrics = balance.shown(plan, known, [pair])
    described = [
        *caption(plan, metrics, dataset),
        *results.prompts(dataset, backbone),
        *results.missing_images(dataset, backbone),
    ]
    table = Table(f"{dataset}, {backbone}", headings(plan.shots, metrics), caption=described)
    for row in plan.rows():
        cells: list[Cell] = [
            _number(results, (dataset, backbone, shots), row, metric, level)
            for shots in plan.shots
            for metric in metrics
        ]
        notes = balance.one_class(plan, known, pair, row)
        table.rows.append((name(row), cells, results.remarks(dataset, backbone, row, notes)))
    largest = [balance.majority(known, pair, metric) for _ in plan.shots for metric in metrics]
    add_majority(table, [found and found[0] for found in largest], f"'{largest[0][1]}'" if largest[0] else "")
    if level is not None:
        table.caption = [*table.caption, LEVEL]
    table.caption = [*table.caption, *balance.shifts(plan, known, pair)]
    return _with_gap(table, results, pair) if plan.peeking_gap else table


def _number(results: Results, place: Place, row: Row, metric: str, level: Level | None) -> Number | None:
    dataset, backbone, shots = place
    number = percent(results.values(dataset, backbone, row, shots, metric=metric))
    return number and replace(number, level=level is not None and (place, row) in level[metric])


def headings(shots: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """A column for each number of shots; of several metrics one for each, side by side."""
    if len(metrics) == 1:
        return [shots_heading(one) for one in shots]
    return [f"{shots_heading(one)}, {balance.SHORT[metric]}" for one in shots for metric in metrics]


def add_majority(table: Table, values: Sequence[float | None], said: str) -> None:
    """A last row with what the largest class alone would get, where a row is not better than that in some column."""
    columns = [(j, value) for j, value in enumerate(values) if value is not None]
    numbers = [(cells[j], value) for _, cells, _ in table.rows for j, value in columns]
    if any(isinstance(cell, Number) and cell.mean <= 100 * value + 1e-9 for cell, value in numbers):
        shown = [None if value is None else f"{100 * value:.2f}" for value in values]
        shown += [""] * (len(table.columns) - len(shown))
        table.rows.append(
            (MAJORITY, shown, [f"always says the largest class of the reported split{said and ', ' + said}"])
        )


def _with_gap(table: Table, results: Results, pair: tuple[str, str]) -> Table:
    """With a column of the mean peeking gap."""
    gaps = [_mean_gap(results, [pair], row) for row in results.plan.rows()]
    gaps += [""] * (len(table.rows) - len(gaps))
    rows: list[tuple[str, Sequence[Cell], Sequence[str]]] = [
        (label, [*cells, gap], remarks) for (label, cells, remarks), gap in zip(table.rows, gaps, strict=True)
    ]
    columns, lines = [*table.columns, "peeking gap"], [*table.caption, peeking_caption(results.plan)]
    return replace(table, columns=columns, rows=rows, caption=lines)


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


def regimes_table(results: Results, dataset: str, backbone: str, metrics: Sequence[str] = ()) -> Table:
    """Methods by shots, every regime of the study side by side, in the study's metric or in several."""
    plan, metrics = results.plan, metrics or [results.plan.by]
    regimes = [plan.select, *plan.also]
    columns = [f"{heading}, {regime}" for heading in headings(plan.shots, metrics) for regime in regimes]
    table = Table(f"{dataset}, {backbone}: by regime", columns)
    for row in plan.rows():
        cells = [
            percent(results.values(dataset, backbone, row, shots, regime, metric))
            for shots in plan.shots
            for metric in metrics
            for regime in regimes
        ]
        table.rows.append((name(row), cells, results.remarks(dataset, backbone, row)))
    said = [f"{regime}: {REGIMES[regime]}." for regime in regimes]
    table.caption = [caption(plan, metrics, dataset)[0], *said, *folded(plan, dataset)]
    return table


def gains_table(results: Results) -> Table:
    """What each regime adds to `last`, by shots, over datasets and backbones, of the rows with something to choose.

    The mean of all rows stands below.
    """
    plan = results.plan
    regimes = [regime for regime in (plan.select, *plan.also) if regime != "last"]
    columns = [(shots, regime) for shots in plan.shots for regime in regimes]
    table = Table(f"{plan.study}: what choosing adds", [f"{shots_heading(s)}, {regime}" for s, regime in columns])
    found = {row: [_gain(results, row, *column) for column in columns] for row in plan.rows()}
    chosen = {row: gains for row, gains in found.items() if any(gain is not None for gain in gains)}
    table.rows = [(name(row), [_points(gain) for gain in gains], []) for row, gains in chosen.items()]
    known = [[gain for gain in column if gain is not None] for column in zip(*chosen.values(), strict=True)]
    means = [_points(float(np.mean(column)) if column else None) for column in known]
    table.rows += [("mean of all rows", means, [])] if chosen else []
    table.caption = [
        f"{METRICS[plan.by]} on {plan.reported()} minus that under last, in points, averaged over datasets and "
        "backbones, of the rows that have something to choose.",
        *(f"{regime}: {REGIMES[regime]}." for regime in ("last", *regimes)),
    ]
    return table


def _gain(results: Results, row: Row, shots: str, regime: str) -> float | None:
    """Points that a regime adds to `last`; None where there was nothing to choose, or one of them is missing."""
    plan, gains = results.plan, []
    for dataset in plan.datasets:
        for backbone in plan.backbones:
            if not results.peeking_gaps(dataset, backbone, row, shots):
                return None
            ends = (results.values(dataset, backbone, row, shots, one) for one in (regime, "last"))
            high, low = (float(np.mean(end)) for end in ends)
            gains.append(100 * (high - low))
    return float(np.mean(gains))


def _points(gain: float | None) -> str | None:
    """A difference in points as a text: it isn't ranked."""
    return None if gain is None else f"{gain:+.2f}"


PEEKING = (
    "Peeking gap: the best over epochs or grid points on the reported split itself, minus the last epoch or the "
    "default, in points: what choosing on the reported split adds."
)


def peeking_caption(plan: Plan) -> str:
    """What the peeking gap is, and over which epochs."""
    thinned = (
        f" Of each training at most {plan.curve} epochs were scored; over all of them the gap is at least as large."
    )
    return PEEKING + (thinned if plan.curve else "")


def peeking_table(results: Results) -> Table:
    """The peeking gap by shots, averaged over datasets and backbones, of the rows that have a curve."""
    plan = results.plan
    columns = [*(shots_heading(shots) for shots in plan.shots), "mean"]
    table = Table(f"{plan.study}: peeking gap", columns, caption=[peeking_caption(plan)])
    if plan.by != "accuracy":
        table.caption = [*table.caption, f"{METRICS[plan.by]} in percent on {plan.reported()}."]
    pairs = plan.pairs()
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
    return _points(100 * float(np.mean(gaps)) if gaps else None)


def shots_heading(shots: str) -> str:
    """`1 shot`, `5 shots`, `all`."""
    return f"{shots} shot" if shots == "1" else f"{shots} shots" if shots.isdigit() else shots


def caption(plan: Plan, metrics: Sequence[str] = (), dataset: str = "") -> list[str]:
    """What the numbers are, and the protocol that they were taken under."""
    seeds = f"{plan.seeds} seeds" if plan.seeds > 1 else "1 seed"
    spread = "mean ± standard deviation over" if plan.seeds > 1 else "from"
    return [f"{measured(plan, metrics, dataset)}, {spread} {seeds}.", protocol(plan, dataset)]


def folded(plan: Plan, dataset: str = "") -> list[str]:
    """How a dataset is cross-validated, or those of the study are; nothing where none is."""
    datasets = [dataset] if dataset else plan.datasets
    own = [name for name in datasets if name in plan.folds]
    if not own:
        return []
    counts = sorted({plan.folds[name] for name in own})
    which = "" if len(own) == len(datasets) else f" of {', '.join(own)}"
    return [
        f"{' or '.join(map(str, counts))}-fold cross-validation{which}: every image is answered by a classifier that "
        "has not seen it, its copies or its group. A seed's number is over all images; ± is over seeds, not folds."
    ]


def measured(plan: Plan, metrics: Sequence[str] = (), dataset: str = "") -> str:
    """What the numbers of a table are."""
    reported = plan.reported(dataset)
    if len(metrics) > 1:
        return f"Top-1 accuracy, and its average over classes (per class), whose sizes differ, in percent on {reported}"
    return f"{METRICS[plan.by]} in percent on {reported}"


def protocol(plan: Plan, dataset: str = "") -> str:
    """The protocol in a sentence, and another one where a dataset is cross-validated."""
    first = f"Protocol: report {plan.reported(dataset)}, select {plan.select}: {REGIMES[plan.select]}."
    return " ".join([first, *folded(plan, dataset)])
