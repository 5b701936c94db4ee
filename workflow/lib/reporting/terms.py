"""A metric as a sum over images: what a resample of the images makes of it.

Accuracy and the accuracy of each class averaged are such sums. Macro F1 and the area under the ROC curve are not: of
them the sum is the first-order one, with what each image adds to the metric when it counts a little more (the
infinitesimal jackknife; for the area these are the placements of DeLong and others, 1988). All but accuracy are
resampled within classes: each class weighs as much as the others, whatever the number of its images.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from workflow.lib.evaluation import scoring
from workflow.lib.reporting.saved import Saved
from workflow.lib.reporting.statistics import Floats, Terms

Labels = NDArray[np.int64]


def of(metric: str, saved: Saved, variant: str) -> Terms:
    """The terms of one variant, every seed of it."""
    if metric == "auroc":
        return _stacked([_auroc(logits, saved.labels) for logits in saved.logits[variant]])
    guesses = saved.predicted[variant]
    if metric == "accuracy":
        hits = (guesses == saved.labels).astype(np.float64)
        return Terms(hits, np.zeros(len(hits)), float(len(saved.labels)))
    return _stacked([_FROM_GUESSES[metric](guess, saved.labels) for guess in guesses])


def within_classes(metric: str) -> bool:
    """Whether images are resampled within their classes."""
    return metric != "accuracy"


def _stacked(seeds: list[Floats]) -> Terms:
    """Terms `(M,)` of every seed, the metric's value in front of them."""
    terms = np.stack([found[1:] for found in seeds])
    return Terms(terms, np.array([found[0] for found in seeds]) - terms.sum(1))


def _mean_per_class(guess: Labels, labels: Labels) -> Floats:
    images = np.bincount(labels)
    found = (guess == labels) / images[labels] / (images > 0).sum()
    return np.concatenate([[found.sum()], found])


def _macro_f1(guess: Labels, labels: Labels) -> Floats:
    """From d F1 = (2 dTP - F1 dGuesses) / (images + guesses), where the images of a class stay as many."""
    classes = int(max(labels.max(), guess.max())) + 1
    met = np.bincount(labels, minlength=classes) + np.bincount(guess, minlength=classes)
    hit = guess == labels
    f1 = 2 * np.bincount(labels[hit], minlength=classes) / np.maximum(met, 1)
    found = (2 * hit - f1[guess]) / met[guess] / (met > 0).sum()
    return np.concatenate([[scoring.macro_f1(guess, labels)], found])


def _auroc(logits: Floats, labels: Labels) -> Floats:
    """An image's share of its own class's area, and of every other's, with the placements of its probabilities."""
    log_probability = logits.astype(np.float64)
    found, classes = np.zeros(len(labels)), np.unique(labels)
    for k in classes:
        values, own = log_probability[:, k], labels == k
        found[own] += _placed(values[own], values[~own]) / own.sum()
        found[~own] += (1 - _placed(values[~own], values[own])) / (~own).sum()
    return np.concatenate([[scoring.auroc(log_probability, labels)], found / len(classes)])


def _placed(values: Floats, among: Floats) -> Floats:
    """The share of others `among` that lie below each value, ties for half."""
    ordered = np.sort(among)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2 / len(ordered)


_FROM_GUESSES: Mapping[str, Callable[[Labels, Labels], Floats]] = {
    "mean_per_class": _mean_per_class,
    "macro_f1": _macro_f1,
}
