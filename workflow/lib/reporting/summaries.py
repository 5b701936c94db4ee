"""What a study comes to: averages over datasets, intervals, wins and losses, and the recall of every class."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from workflow.lib.evaluation.scoring import METRICS
from workflow.lib.reporting import balance
from workflow.lib.reporting.comparison import Place, Predictions, Ring, Row, Score
from workflow.lib.reporting.results import Plan, Results, exact_mean, mean_ranks, ranked
from workflow.lib.reporting.tables import (
    NA,
    Cell,
    Number,
    Table,
    add_majority,
    headings,
    measured,
    name,
    percent,
    protocol,
    shots_heading,
)


def summary_table(results: Results, predictions: Predictions | None = None) -> Table:
    """Methods by shots, averaged over datasets and backbones, and the mean rank."""
    plan, known = results.plan, predictions or {}
    metrics = balance.shown(plan, known, plan.pairs())
    means, lower = _headings("mean", metrics), _headings("mean rank", metrics)
    table = Table(f"{plan.study}: all datasets", [*headings(plan.shots, metrics), *means, *lower], lower=lower)
    table.caption = _summary_caption(results, known, metrics)
    ranks = {metric: mean_ranks(results, metric) for metric in metrics}
    for row in plan.rows():
        averages: list[Cell] = [_average(results, row, shots, metric) for shots in plan.shots for metric in metrics]
        averages += [_mean(averages[i :: len(metrics)]) for i in range(len(metrics))]
        placed = [None if np.isnan(ranks[metric][row]) else Number(ranks[metric][row]) for metric in metrics]
        table.rows.append((name(row), [*averages, *placed], _remarks(results, known, row)))
    largest = [_majority(plan, known, metric) for metric in metrics]
    add_majority(table, largest * (len(plan.shots) + 1), "")
    return table


def _headings(text: str, metrics: Sequence[str]) -> list[str]:
    return [text] if len(metrics) == 1 else [f"{text}, {balance.SHORT[metric]}" for metric in metrics]


def _average(results: Results, row: Row, shots: str, metric: str) -> Number | None:
    """The mean over datasets and backbones of the mean over seeds; None where one of them is missing."""
    return _mean([percent(results.values(d, b, row, shots, metric=metric)) for d, b in results.plan.pairs()])


def _mean(cells: Sequence[Cell]) -> Number | None:
    """The mean of numbers; None where one of them is missing."""
    known = [cell.mean for cell in cells if isinstance(cell, Number)]
    return Number(float(np.mean(known))) if len(known) == len(cells) else None


def _majority(plan: Plan, predictions: Predictions, metric: str) -> float | None:
    found = [balance.majority(predictions, pair, metric) for pair in plan.pairs()]
    return float(np.mean([one[0] for one in found if one])) if all(found) else None


def _remarks(results: Results, predictions: Predictions, row: Row) -> list[str]:
    """The remarks on a row with where they hold, which is left out of those that hold everywhere."""
    plan, where = results.plan, dict[str, list[str]]()
    for d, b in plan.pairs():
        for remark in results.remarks(d, b, row, balance.one_class(plan, predictions, (d, b), row)):
            where.setdefault(remark, []).append(f"{d}, {b}: {remark}")
    pairs = len(plan.pairs())
    return [line for remark, lines in where.items() for line in ([remark] if len(lines) == pairs > 1 else lines)]


def _summary_caption(results: Results, predictions: Predictions, metrics: Sequence[str]) -> list[str]:
    plan = results.plan
    pairs = plan.pairs()
    averaged = f"averaged over {len(pairs)} pair{'s' * (len(pairs) != 1)} of dataset and backbone"
    both = balance.unequal(predictions, pairs) if len(metrics) > 1 else []
    return [
        f"{measured(plan, metrics)}, {averaged} (seeds: {plan.seeds}). The rank is among all rows, averaged over pairs "
        "and shots: 1 is best.",
        protocol(plan),
        *(_orders(results, pair) for pair in both),
    ]


def _orders(results: Results, pair: tuple[str, str]) -> str:
    """Where accuracy and the mean per class put the rows in another order."""
    found = {shots: text for shots in results.plan.shots if (text := _order(results, (*pair, shots)))}
    where = ", ".join(pair)
    if not found:
        return f"{where}: by accuracy and per class the rows are in the same order."
    return f"{where}: another order by accuracy than per class: {'; '.join(found.values())}."


def _order(results: Results, place: Place) -> str:
    """`5 shots, 3 of 10 pairs of rows, first x by accuracy and y per class`; empty where the order is the same."""
    dataset, backbone, shots = place
    rows = results.plan.rows()
    means = [
        [exact_mean(results.values(dataset, backbone, row, shots, metric=metric)) for row in rows]
        for metric in ("accuracy", "mean_per_class")
    ]
    there = [i for i in range(len(rows)) if not np.isnan(means[0][i])]
    pairs = list(combinations(there, 2))
    turned = sum((means[0][i] - means[0][j]) * (means[1][i] - means[1][j]) < 0 for i, j in pairs)
    if not turned:
        return ""
    first = [name(rows[there[int(np.argmin(ranked([of[i] for i in there])))]]) for of in means]
    best = f", first {first[0]} by accuracy and {first[1]} per class" if first[0] != first[1] else ""
    return f"{shots_heading(shots)}, {turned} of {len(pairs)} pairs of rows{best}"


def intervals_table(plan: Plan, places: Mapping[str, Mapping[Place, Ring]], dataset: str, backbone: str) -> Table:
    """The 95 % interval of every row, by shots, for each metric of the dataset's table."""
    columns = headings(plan.shots, list(places))
    table = Table(f"{dataset}, {backbone}: 95 % intervals", columns)
    rings = [found.get((dataset, backbone, shots)) for shots in plan.shots for found in places.values()]
    for row in plan.rows():
        table.rows.append((name(row), [_interval(ring, row) for ring in rings], []))
    table.caption = [
        f"{measured(plan, list(places), dataset)}: over supports (from {plan.seeds} seeds) and images.",
        protocol(plan, dataset),
    ]
    return table


def _interval(ring: Ring | None, row: Row) -> str | None:
    """`24.93 to 28.06`, or None where the row was not run."""
    if ring is None or row not in ring.rows:
        return None
    low, high = ring.intervals[ring.rows.index(row)]
    return f"{100 * low:.2f} to {100 * high:.2f}"


def comparison_table(
    results: Results, scores: Mapping[tuple[Row, Row], Score], predictions: Predictions | None = None
) -> Table:
    """Wins, ties and losses of each row against each other over all datasets, backbones and shots."""
    plan, rows = results.plan, results.plan.rows()
    table = Table(f"{plan.study}: wins/ties/losses", [str(i) for i in range(1, len(rows) + 1)])
    for i, row in enumerate(rows, 1):
        cells = ["" if row == other else str(scores.get((row, other), NA)) for other in rows]
        table.rows.append((f"{i} {name(row)}", cells, []))
    table.caption = [
        "The row against the column, in each dataset, backbone and number of shots: won/undecided/lost. Paired over "
        "seeds and images, at a false discovery rate of 5 % over the whole matrix.",
        f"By: {METRICS[plan.by].removesuffix(',')}, on {plan.reported()}.",
        protocol(plan),
    ]
    if not plan.metric and (pairs := balance.unequal(predictions or {}, plan.pairs())):
        where = "; ".join(", ".join(pair) for pair in pairs)
        table.caption.append(
            f"Classes of unequal size in {where}: metric: mean_per_class in the study file weighs them alike."
        )
    return table


def per_class_table(plan: Plan, predictions: Predictions, dataset: str, backbone: str) -> Table:
    """The recall of every class, a line for each row and class."""
    columns = ["class", "images", *(shots_heading(shots) for shots in plan.shots)]
    table = Table(f"{dataset}, {backbone}: recall of each class", columns)
    for row in plan.rows():
        cells = [predictions.get((dataset, backbone, row[0], plan.cell(row[0], shots))) for shots in plan.shots]
        there = [cell for cell in cells if cell is not None]
        recalls = [None if c is None or row[1] not in c.predicted else c.recalls(row[1]) for c in cells]
        for k, label in enumerate(there[0].classnames if there else []):
            shown = [None if one is None or np.isnan(one[k]) else f"{100 * one[k]:.2f}" for one in recalls]
            images = str(int((there[0].labels == k).sum()))
            table.rows.append((name(row), [label, images, *shown], []))
    reported = plan.reported(dataset)
    table.caption = [f"Recall in percent on {reported}, mean over seeds: {plan.seeds}.", protocol(plan, dataset)]
    return table
