"""Rows against each other for the page: intervals, what can't be told from the best, and every pair's difference."""

from collections.abc import Mapping, Sequence
from typing import Any

from workflow.lib.page.layout import Layout, Source
from workflow.lib.reporting import balance, comparison
from workflow.lib.reporting.comparison import Place, Ring
from workflow.lib.reporting.statistics import Difference

_PAIRS = 80_000  # differences of all pairs together: beyond it only intervals and marks go into the page


def of(layout: Layout, names: Sequence[str]) -> dict[str, Any]:
    """`rings`, one for each dataset, backbone, number of shots and metric that was tested; wins over all of them."""
    found = [_of_study(layout, i, source, names) for i, source in enumerate(layout.sources)]
    rings = [ring for rings, _ in found for ring in rings]
    if sum(len(ring["pairs"]) for ring in rings) > 4 * _PAIRS:
        for ring in rings:
            ring["pairs"] = []
    return {"rings": rings, "wins": [wins for _, wins in found]}


def _of_study(
    layout: Layout, study: int, source: Source, names: Sequence[str]
) -> tuple[list[dict[str, Any]], list[list[int]]]:
    plan, made = source.results.plan, list[dict[str, Any]]()
    metrics = dict.fromkeys([plan.by, *balance.shown(plan, source.predictions, plan.pairs())])
    wins: list[list[int]] = []
    for metric in metrics:
        places = comparison.rings(plan, source.predictions, metric)
        level = comparison.level_with_best(places)
        for place, ring in places.items():
            rows = [layout.row(study, row) for row in ring.rows]
            equal = [i for i, row in zip(rows, ring.rows, strict=True) if (place, row) in level]
            where = {"study": study, "m": names.index(metric), "rows": rows, "level": equal}
            made.append(where | _place(layout, place) | _numbers(ring))
        if metric == plan.by:
            wins = _wins(layout, study, source, places)
    return made, wins


def _place(layout: Layout, place: Place) -> dict[str, int]:
    return {"p": layout.pairs.index(place[:2]), "s": layout.shot(place[2])}


def _numbers(ring: Ring) -> dict[str, Any]:
    """Intervals of the rows, and the pairs' differences in the order of rows, four numbers each."""
    return {
        "intervals": [[round(100 * end, 2) for end in interval] for interval in ring.intervals],
        "pairs": [number for one in ring.differences.values() for number in _four(one)],
    }


def _four(one: Difference) -> list[float]:
    return [*(round(100 * value, 2) for value in (one.mean, one.low, one.high)), float(f"{one.p:.2g}")]


def _wins(layout: Layout, study: int, source: Source, places: Mapping[Place, Ring]) -> list[list[int]]:
    """Of every row against every other: two rows, won, undecided, lost."""
    rows = source.results.plan.rows()
    return [
        [layout.row(study, a), layout.row(study, b), score.wins, score.ties, score.losses]
        for (a, b), score in comparison.matrix(places, rows).items()
    ]
