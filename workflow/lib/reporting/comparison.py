"""The rows of a study against each other: on every data set, backbone and number of shots, from saved predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow.lib.errors import UserError
from workflow.lib.features import archive
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.statistics import Bootstrap, Difference, bootstrap, pooled, significant

Row = tuple[str, str]  # label, variant
Place = tuple[str, str, str]  # dataset, backbone, shots
_AGAIN = "delete it, and the next run makes it anew"


@dataclass(frozen=True)
class Ring:
    """Where rows meet: those that were run there, and their paired bootstrap."""

    rows: Sequence[Row]
    bootstrap: Bootstrap

    def difference(self, a: Row, b: Row) -> Difference | None:
        """a against b, or None where one of them was not run."""
        if a not in self.rows or b not in self.rows:
            return None
        return self.bootstrap.difference(self.rows.index(a), self.rows.index(b))


@dataclass(frozen=True)
class Score:
    """a against b over all places: how many won, undecided and lost at a false discovery rate of 5 %."""

    wins: int
    ties: int
    losses: int

    def __str__(self) -> str:
        return f"{self.wins}/{self.ties}/{self.losses}"


def rings(plan: Plan, folder: Path, rows: Sequence[Row] | None = None) -> dict[Place, Ring]:
    """Every place of a study, for all its rows or some. Raises UserError for predictions that can't be read."""
    wanted = plan.rows() if rows is None else rows
    return {
        (dataset, backbone, shots): ring
        for dataset in plan.datasets
        for backbone in plan.backbones
        for shots in plan.shots
        if (ring := _ring(plan, folder, (dataset, backbone, shots), wanted)) is not None
    }


def _ring(plan: Plan, folder: Path, place: Place, rows: Sequence[Row]) -> Ring | None:
    dataset, backbone, shots = place
    hits: dict[Row, NDArray[np.bool_]] = {}
    for label in dict.fromkeys(label for label, _ in rows):
        if not plan.path(folder, dataset, backbone, label, shots).exists():
            continue  # a missing cell: the tables have said so
        path = plan.path(folder, dataset, backbone, label, shots, "predictions")
        hits |= {(label, variant): found for variant, found in read_hits(path).items() if (label, variant) in rows}
    there = [row for row in rows if row in hits]
    return Ring(there, bootstrap([hits[row] for row in there])) if there else None


def read_hits(path: Path) -> dict[str, NDArray[np.bool_]]:
    """Which images each variant got right, `(S, M)` by variant, from a cell's predictions."""
    try:
        arrays = archive.read(path, ("labels", "predicted", "variants"))
    except UserError as error:
        raise UserError(f"{path}: no predictions can be read from it ({error}); {_AGAIN}") from error
    labels, predicted, variants = (arrays.get(name, np.empty(())) for name in ("labels", "predicted", "variants"))
    shapes = [labels.shape, predicted.shape, variants.shape]
    numbers = labels.dtype.kind in "iu" and predicted.dtype.kind in "iu" and variants.dtype.kind == "U"
    if not numbers or labels.ndim != 1 or [predicted.shape[:1], predicted.shape[2:]] != [variants.shape, labels.shape]:
        raise UserError(
            f"{path}: labels, predicted and variants have shapes {shapes}; integers (M,) and (V, S, M) and names (V,) "
            f"are wanted; {_AGAIN}"
        )
    return {str(name): predicted[i] == labels for i, name in enumerate(variants)}


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
    """The rows that can't be told from the best of their place, itself apart.

    The differences from the best are tested together for each data set and backbone: those of one table.
    """
    level = set()
    for table in dict.fromkeys(place[:2] for place in places):
        tests = [
            (place, row, ring.bootstrap.difference(int(ring.bootstrap.observed.argmax()), i))
            for place, ring in places.items()
            for i, row in enumerate(ring.rows)
            if place[:2] == table and i != int(ring.bootstrap.observed.argmax())
        ]
        marks = significant([one for _, _, one in tests])
        level |= {(place, row) for (place, row, _), mark in zip(tests, marks, strict=True) if not mark}
    return level


def overall(places: Mapping[Place, Ring], a: Row, b: Row) -> Difference | None:
    """The mean difference over the places where both were run, or None where there is none."""
    shared = [ring for ring in places.values() if a in ring.rows and b in ring.rows]
    if not shared or len({tuple(ring.rows) for ring in shared}) > 1:
        return None
    rows = list(shared[0].rows)
    return pooled([ring.bootstrap for ring in shared], rows.index(a), rows.index(b))
