"""Which row of a table to use, what it is worth, and what else would do: decided from the statistics."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from methods.contract.shots import ALL
from workflow.lib.reporting import balance, comparison, label_curve, terms
from workflow.lib.reporting.comparison import Place, Predictions, Ring, Row
from workflow.lib.reporting.label_curve import Curve
from workflow.lib.reporting.results import Plan, Results, exact_mean
from workflow.lib.reporting.statistics import Bootstrap, Difference
from workflow.lib.reporting.winner import winner

ZERO_SHOT = "zero_shot"  # the plugin


@dataclass(frozen=True)
class Entrant:
    """A row that was run at a place: its observed metric, and what it takes to fit it once."""

    row: Row
    value: float
    seconds: float
    numbers: int  # that a training changes
    learns: bool
    params: Mapping[str, Any]


@dataclass(frozen=True)
class Advice:
    """What to use at one place. `entrants` are the rows that were run there, the highest first.

    `value` with its 95 % interval `low`, `high` is corrected for the row's having been picked, `uncorrected` is not;
    `sure` is the share of the picks out of which the correction is made in which this row came first. `level` are the
    rows that could not be told apart from the highest, `best`. `gain` is the row's advantage over zero-shot, corrected
    too, and `shown` whether that could be told apart from nothing.
    """

    place: Place
    images: int  # of one support
    chosen: Entrant
    best: Entrant
    entrants: Sequence[Entrant]
    value: float
    low: float
    high: float
    sure: float
    level: Sequence[Entrant]
    zero: Entrant | None
    gain: Difference | None
    shown: bool
    majority: tuple[float, str] | None
    absent: Mapping[Row, str]  # rows that were not run, and why

    @property
    def uncorrected(self) -> float:
        """The chosen row's value in the table."""
        return self.chosen.value


@dataclass(frozen=True)
class Recommendation:
    """The advice for a dataset and backbone at every number of shots, the fewest images first, and more labels' worth.

    `curve` is that of the row `of`: the one recommended with the most labels, or the best of those that learn.
    """

    dataset: str
    backbone: str
    advice: Sequence[Advice]
    of: Row | None
    curve: Curve | None
    classes: int
    per_class: tuple[Row, float] | None  # the best with the most labels by mean per class, where it is another one

    @property
    def last(self) -> Advice | None:
        """The advice with the most labels."""
        return self.advice[-1] if self.advice else None


def recommendations(results: Results, folder: Path) -> Iterator[Recommendation]:
    """One for each dataset and backbone, in order; the predictions of one at a time are in memory."""
    for pair in results.plan.pairs():
        cells = [key for key in results.records if key[:2] == pair]
        predictions = comparison.gather(results.plan, folder, results.plan.by, cells)
        yield recommend(results, pair, predictions)


def recommend(results: Results, pair: tuple[str, str], predictions: Predictions) -> Recommendation:
    """The recommendation for one dataset and backbone."""
    plan = _only(results.plan, pair)
    drawn = {
        place: (rows, one) for place, rows, one in comparison.drawn(plan, predictions, plan.by, results.plan.rows())
    }
    rings = {place: _ring(results, place, rows, one) for place, (rows, one) in drawn.items()}
    level = comparison.level_with_best(rings)
    made = [_advice(results, predictions, place, ring, level) for place, ring in rings.items()]
    made.sort(key=lambda one: (one.images, one.place[2] == ALL))
    of = _learning(made[-1]) if made else None
    curve = None if of is None else _curve(results, drawn, of)
    return Recommendation(*pair, made, of, curve, _classes(results, pair), _per_class(results, predictions, made))


def _only(plan: Plan, pair: tuple[str, str]) -> Plan:
    return replace(plan, datasets=[pair[0]], backbones=[pair[1]])


def _classes(results: Results, pair: tuple[str, str]) -> int:
    return next((int(record["classes"]) for key, record in results.records.items() if key[:2] == pair), 0)


def _ring(results: Results, place: Place, rows: Sequence[Row], drawn: Bootstrap) -> Ring:
    """What `Ring.of` has, but only the differences from the highest and from zero-shot: pairs are many."""
    zero = _zero(results, place, rows)
    centres = {int(drawn.observed.argmax()), *([] if zero is None else [rows.index(zero)])}
    everyone = range(len(rows))
    pairs = {(min(i, j), max(i, j)) for i in centres for j in everyone if i != j}
    differences = {pair: drawn.difference(*pair) for pair in sorted(pairs)}
    return Ring(rows, drawn.observed, [drawn.interval(i) for i in everyone], differences)


def _zero(results: Results, place: Place, rows: Sequence[Row]) -> Row | None:
    """The row of zero-shot, whatever its label is."""
    plugins = {key[2]: record["plugin"] for key, record in results.records.items() if key[:2] == place[:2]}
    return next((row for row in rows if plugins.get(row[0]) == ZERO_SHOT), None)


def _advice(
    results: Results, predictions: Predictions, place: Place, ring: Ring, level: set[tuple[Place, Row]]
) -> Advice:
    entrants = sorted((_entrant(results, place, row) for row in ring.rows), key=_order)
    best = entrants[0]
    of_pair = next(one for key, one in predictions.items() if key[:2] == place[:2])
    by = results.plan.by
    rows = list(comparison.terms_at(results.plan, predictions, place, by, ring.rows).values())
    at = ring.rows.index(best.row)
    worth = winner(rows, at, of_pair.labels if terms.within_classes(by) else None, place[0])
    zero = next((one for one in entrants if one.row == _zero(results, place, ring.rows)), None)
    chosen, value = (
        (zero, zero.value) if zero and best is not zero and worth.value <= zero.value else (best, worth.value)
    )
    lost = chosen.value - value
    low, high = (max(0.0, end - lost) for end in ring.intervals[ring.rows.index(chosen.row)])
    gain = None if zero is None or chosen is zero else _less(ring.difference(chosen.row, zero.row), lost)
    alike = {row for where, row in level if where == place} | {ring.rows[int(ring.observed.argmax())]}
    return Advice(
        place,
        _images(results, place),
        chosen,
        best,
        entrants,
        value,
        low,
        high,
        float(worth.first[ring.rows.index(chosen.row)]),
        [one for one in entrants if one.row in alike and one is not chosen],
        zero,
        gain,
        gain is not None and zero is not None and zero.row not in alike,
        balance.majority(predictions, place[:2], by),
        _absent(results, place, ring.rows),
    )


def _order(entrant: Entrant) -> tuple[float, bool, int]:
    """The highest first; of equals what learns nothing, then what trains the fewest numbers, then the study's order."""
    return -entrant.value, entrant.learns, entrant.numbers


def _less(difference: Difference | None, lost: float) -> Difference | None:
    """A difference corrected by what the picking had added to it."""
    if difference is None:
        return None
    return replace(difference, mean=difference.mean - lost, low=difference.low - lost, high=difference.high - lost)


def _entrant(results: Results, place: Place, row: Row) -> Entrant:
    dataset, backbone, shots = place
    record = results.records[dataset, backbone, row[0], results.plan.cell(row[0], shots)]
    variant = next(one for one in record["variants"] if one["variant"] == row[1])
    seconds = results.values(dataset, backbone, row, shots, metric="fit_seconds")
    learns = any(method["learns"] for method in results.plan.methods if method["label"] == row[0])
    numbers = int(variant["trainable_parameters"])
    value = exact_mean(results.values(dataset, backbone, row, shots))
    return Entrant(row, value, exact_mean(seconds), numbers, learns, variant["params"])


def _images(results: Results, place: Place) -> int:
    """How many images one support has there: the most of all records, as what learns nothing has none."""
    dataset, backbone, shots = place
    cells = [(dataset, backbone, label, results.plan.cell(label, shots)) for label, _ in results.plan.rows()]
    return max(int(results.records[cell]["support"]) for cell in cells if cell in results.records)


def _absent(results: Results, place: Place, rows: Sequence[Row]) -> Mapping[Row, str]:
    """The rows that were not run at a place, and why."""
    dataset, backbone, shots = place
    found = {}
    for row in (row for row in results.plan.rows() if row not in rows):
        record = results.records.get((dataset, backbone, row[0], results.plan.cell(row[0], shots)))
        variants = record["variants"] if record else []
        found[row] = next((one["reason"] for one in variants if one["variant"] == row[1]), "not computed")
    return found


def _learning(advice: Advice) -> Row | None:
    """The row whose curve is of interest: the one to use, or the best that learns where that is zero-shot."""
    ordered = [advice.chosen, *advice.entrants]
    return next((one.row for one in ordered if one.learns), None)


def _curve(results: Results, drawn: Mapping[Place, tuple[list[Row], Bootstrap]], row: Row) -> Curve:
    """The row's curve over the numbers of labelled images with which it was run."""
    there = [
        (float(_images(results, place)), one, rows.index(row)) for place, (rows, one) in drawn.items() if row in rows
    ]
    return label_curve.curve(there)


def _per_class(results: Results, predictions: Predictions, made: Sequence[Advice]) -> tuple[Row, float] | None:
    """The best row by mean per class with the most labels, where classes are unequal and it is another one."""
    if not made or len(balance.shown(results.plan, predictions, [made[-1].place[:2]])) == 1:
        return None
    dataset, backbone, shots = made[-1].place
    values = {
        one.row: exact_mean(results.values(dataset, backbone, one.row, shots, metric="mean_per_class"))
        for one in made[-1].entrants
    }
    best = max(values, key=lambda row: values[row])
    return None if values[best] == values[made[-1].chosen.row] else (best, values[best])
