"""Classes of unequal size: which metrics a table shows, what the largest class alone gets, and what must be said."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from workflow.lib.evaluation import scoring
from workflow.lib.reporting.comparison import Predictions, Row
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.saved import Saved

SHORT = {"accuracy": "accuracy", "mean_per_class": "per class", "macro_f1": "macro F1", "auroc": "AUROC"}
_CHANCE, _SHIFT = 0.001, 0.05  # shares differ where chance does so once in 1000, and 5 % of the images are concerned


def shown(plan: Plan, predictions: Predictions, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """The metrics of a table about these datasets and backbones: the study's; without one, on unequal classes, two."""
    if not plan.metric and unequal(predictions, pairs):
        return ["accuracy", "mean_per_class"]
    return [plan.by]


def unequal(predictions: Predictions, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the datasets and backbones whose reported split is unbalanced."""
    return [pair for pair in pairs if (one := _any(predictions, pair)) is not None and one.unbalanced]


def _any(predictions: Predictions, pair: tuple[str, str]) -> Saved | None:
    """The predictions of some cell: all of a dataset's and backbone's have the same images."""
    return next((one for key, one in predictions.items() if key[:2] == pair), None)


def majority(predictions: Predictions, pair: tuple[str, str], metric: str) -> tuple[float, str] | None:
    """What always saying the largest class of the reported split gets, and the name of that class."""
    if (one := _any(predictions, pair)) is None:
        return None
    largest = int(np.bincount(one.labels).argmax())
    guess = np.full(len(one.labels), largest)
    values = {"accuracy": float((guess == one.labels).mean()), "auroc": 0.5}
    value = values[metric] if metric in values else scoring.FROM_GUESSES[metric](guess, one.labels)
    return value, one.classnames[largest]


def one_class(plan: Plan, predictions: Predictions, pair: tuple[str, str], row: Row) -> Mapping[str, str]:
    """By shots, the remark on a row that says the same class of nearly every image."""
    notes = {}
    for shots in plan.shots:
        cell = predictions.get((*pair, row[0], plan.cell(row[0], shots)))
        if cell is not None and row[1] in cell.predicted and (name := cell.monotonous(row[1])):
            notes[shots] = f"says '{name}' of over 99 % of the images"
    return notes


def shifts(plan: Plan, predictions: Predictions, pair: tuple[str, str]) -> list[str]:
    """A line for each split whose shares of classes differ from those of the reported split by more than chance."""
    if (one := _any(predictions, pair)) is None:
        return []
    reported = one.images[plan.report]
    others = {split: images for split, images in one.images.items() if split != plan.report}
    return [
        f"Shares of classes differ between {split} and {plan.report}, most of all that of '{name}': {there}."
        for split, images in others.items()
        for name, there in _shift(one.classnames, (split, images), (plan.report, reported))
    ]


def _shift(
    names: Sequence[str], one: tuple[str, NDArray[np.int64]], other: tuple[str, NDArray[np.int64]]
) -> list[tuple[str, str]]:
    """The class whose share differs most, and its shares, if these are not alike."""
    from scipy.stats import chi2_contingency

    counts = np.stack([one[1], other[1]])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    apart = np.abs(shares[0] - shares[1])
    if apart.sum() / 2 < _SHIFT or chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue >= _CHANCE:
        return []
    most = int(apart.argmax())
    there = (f"{100 * share[most]:.1f} % of {split}" for share, (split, _) in zip(shares, (one, other), strict=True))
    return [(names[most], ", ".join(there))]
