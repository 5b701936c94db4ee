"""The rows of a study against each other: on every dataset, backbone and number of shots, from saved predictions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow.lib.errors import UserError
from workflow.lib.reporting import saved, terms
from workflow.lib.reporting.results import Key, Plan
from workflow.lib.reporting.saved import Saved
from workflow.lib.reporting.statistics import Bootstrap, Difference, Floats, Terms, bootstrap, significant

Row = tuple[str, str]  # label, variant
Place = tuple[str, str, str]  # dataset, backbone, shots
Predictions = Mapping[Key, Saved]


@dataclass(frozen=True)
class Ring:
    """Where rows meet: those that were run there, what they came to, and each pair's difference, i against j > i."""

    rows: Sequence[Row]
    observed: Floats
    intervals: Sequence[tuple[float, float]]
    differences: Mapping[tuple[int, int], Difference]

    @classmethod
    def of(cls, rows: Sequence[Row], drawn: Bootstrap) -> "Ring":
        """The rows' intervals and differences, without the draws, which are large."""
        everyone = range(len(rows))
        pairs = {(i, j): drawn.difference(i, j) for i in everyone for j in everyone[i + 1 :]}
        return cls(rows, drawn.observed, [drawn.interval(i) for i in everyone], pairs)

    def difference(self, a: Row, b: Row) -> Difference | None:
        """a against b, or None where one of them was not run."""
        if a not in self.rows or b not in self.rows:
            return None
        i, j = self.rows.index(a), self.rows.index(b)
        return self.differences[i, j] if i < j else -self.differences[j, i]


@dataclass(frozen=True)
class Score:
    """a against b over all places: how many won, undecided and lost at a false discovery rate of 5 %."""

    wins: int
    ties: int
    losses: int

    def __str__(self) -> str:
        return f"{self.wins}/{self.ties}/{self.losses}"


def gather(plan: Plan, folder: Path, metric: str, cells: Collection[Key]) -> Predictions:
    """The predictions of these cells. Raises UserError for those that can't be read."""
    found: dict[Key, Saved] = {}
    for key in cells:
        path = plan.path(folder, *key, "predictions")
        one = saved.read(path, metric == "auroc")
        _same_images(path, one, [other for place, other in found.items() if place[:2] == key[:2]][:1])
        found[key] = one
    return found


def _same_images(path: Path, one: Saved, others: Sequence[Saved]) -> None:
    for other in others:
        if not np.array_equal(one.labels, other.labels):
            raise UserError(
                f"{path}: its {len(one.labels)} images are not those of the study's other cells there, "
                f"{len(other.labels)}; delete it, and the next run makes it anew"
            )


def rings(plan: Plan, predictions: Predictions, metric: str, rows: Sequence[Row] | None = None) -> dict[Place, Ring]:
    """Every place of a study, for all its rows or some."""
    wanted = plan.rows() if rows is None else rows
    return {place: Ring.of(there, one) for place, there, one in drawn(plan, predictions, metric, wanted)}


def drawn(
    plan: Plan, predictions: Predictions, metric: str, rows: Sequence[Row]
) -> Iterator[tuple[Place, list[Row], Bootstrap]]:
    """Every place with the rows that were run there, resampled: one dataset and backbone after the other."""
    for dataset, backbone in plan.pairs():
        places = {shots: terms_at(plan, predictions, (dataset, backbone, shots), metric, rows) for shots in plan.shots}
        places = {shots: found for shots, found in places.items() if found}
        if not places:
            continue
        labels = next(one.labels for key, one in predictions.items() if key[:2] == (dataset, backbone))
        classes = labels if terms.within_classes(metric) else None
        made = bootstrap([list(found.values()) for found in places.values()], classes, dataset)
        for (shots, found), one in zip(places.items(), made, strict=True):
            yield (dataset, backbone, shots), list(found), one


def terms_at(plan: Plan, predictions: Predictions, place: Place, metric: str, rows: Sequence[Row]) -> dict[Row, Terms]:
    """The terms of the rows that were run at one place."""
    dataset, backbone, shots = place
    found = {}
    for label, variant in rows:
        cell = predictions.get((dataset, backbone, label, plan.cell(label, shots)))
        if cell is not None and variant in cell.predicted:
            found[label, variant] = terms.of(metric, cell, variant)
    return found


def matrix(places: Mapping[Place, Ring], rows: Sequence[Row]) -> dict[tuple[Row, Row], Score]:
    """Wins, ties and losses of every row against every other."""
    tests = [
        (a, b, found)
        for ring in places.values()
        for i, a in enumerate(rows)
        for b in rows[i + 1 :]
        if (found := ring.difference(a, b)) is not None
    ]
    marks = significant([found for _, _, found in tests])
    verdicts: dict[tuple[Row, Row], list[int]] = {}
    for (a, b, found), mark in zip(tests, marks, strict=True):
        sign = (1 if found.mean > 0 else -1) if mark else 0
        verdicts.setdefault((a, b), []).append(sign)
        verdicts.setdefault((b, a), []).append(-sign)
    return {pair: Score(signs.count(1), signs.count(0), signs.count(-1)) for pair, signs in verdicts.items()}


def level_with_best(places: Mapping[Place, Ring]) -> set[tuple[Place, Row]]:
    """The rows that can't be distinguished from the best of their place, itself apart.

    The differences from the best are tested together for each dataset and backbone: those of one table.
    """
    level = set()
    for table in dict.fromkeys(place[:2] for place in places):
        tests = [
            (place, row, found)
            for place, ring in places.items()
            if place[:2] == table
            for row in ring.rows
            if row != (best := ring.rows[int(ring.observed.argmax())])
            and (found := ring.difference(best, row)) is not None
        ]
        marks = significant([one for _, _, one in tests])
        level |= {(place, row) for (place, row, _), mark in zip(tests, marks, strict=True) if not mark}
    return level
