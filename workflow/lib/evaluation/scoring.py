"""Metrics of logits `(M, K)` against labels `(M,)`, in NumPy: a cell of a second can't wait for torchmetrics' import.

The tests hold each of them to torchmetrics or scikit-learn. `Answers` is the one place where a candidate gets the score
by which a regime chooses.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Array, Floats, Labels

ECE_BINS = 15
AUROC_LIMIT = 4_000_000  # logits, images times classes: about a quarter of a second
# A study's metric, and what tables call it. All of them are fractions, and more is better.
METRICS = {
    "accuracy": "Top-1 accuracy",
    "mean_per_class": "Accuracy of each class, averaged over classes,",
    "macro_f1": "Macro-averaged F1",
    "auroc": "Area under the ROC curve of each class against the rest, averaged over classes,",
}
LogProbabilities = NDArray[np.float64]


class Answers:
    """What R classifiers say of the same images, ready to be scored by a study's metric: on all images or on some rows.

    Of logits `(R, M, K)`, in NumPy or on a device; argmax is taken there, once for all scores.
    """

    def __init__(self, metric: str, logits: Array, labels: Labels) -> None:
        self._metric, self._labels = metric, labels
        self._hits = hits(logits, labels) if metric == "accuracy" else None
        self._said: Array = _here(logits if metric == "auroc" else guesses(logits)) if self._hits is None else None

    @cached_property
    def scores(self) -> list[float]:
        """The score of each of the R classifiers on all images."""
        if self._hits is not None:
            return [right / len(self._labels) for right in self._hits.sum(-1).tolist()]
        return [self._score(i, np.arange(len(self._labels))) for i in range(len(self._said))]

    def score(self, i: int, rows: Labels) -> float:
        """The score of classifier `i` on some rows; 0 where there are none: nothing to choose by."""
        return self._score(i, rows) if len(rows) else 0.0

    def _score(self, i: int, rows: Labels) -> float:
        labels = self._labels[rows]
        if self._hits is not None:
            return float(self._hits[i][rows].sum()) / len(rows)
        if self._metric == "auroc":
            return auroc(log_softmax(self._said[i][rows]), labels)
        return FROM_GUESSES[self._metric](self._said[i][rows], labels)


def _here(array: Array) -> NDArray[np.generic]:
    """An array in NumPy."""
    if isinstance(array, np.ndarray):
        return array
    here: NDArray[np.generic] = (array.float() if array.is_floating_point() else array).detach().cpu().numpy()
    return here


def guesses(logits: Array) -> Array:
    """The class of the largest logit, `(R, M)` of logits `(R, M, K)`; on a GPU a torch tensor: nothing is copied."""
    if not isinstance(logits, np.ndarray) and logits.device.type == "cpu":
        logits = logits.detach().float().numpy()  # the same memory, and NumPy's argmax is four times as fast as torch's
    if isinstance(logits, np.ndarray) and not logits.flags.c_contiguous:
        # The replicas may lie side by side in memory, and NumPy would copy what doesn't lie in order.
        return logits.swapaxes(0, 1).argmax(-1).T
    return logits.argmax(-1)


def hits(logits: Array, labels: Labels) -> Array:
    """Top-1 hits `(R, M)` of logits `(R, M, K)`, where `guesses` are."""
    guess = guesses(logits)
    if isinstance(guess, np.ndarray):
        return guess == labels
    import torch

    return guess == torch.as_tensor(labels, device=guess.device)


def log_softmax(logits: NDArray[np.floating[Any]]) -> LogProbabilities:
    """`(M, K)` in float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def are_probabilities(logits: Floats) -> bool:
    """Whether every row of `(M, K)` lies between 0 and 1 and sums to 1: what no cosine, distance or logarithm does."""
    inside = logits.min() >= -1e-6 and logits.max() <= 1 + 1e-6
    return bool(inside and np.abs(logits.sum(1, dtype=np.float64) - 1).max() < 1e-3)


def metrics(logits: Floats, labels: Labels, metric: str = "accuracy") -> dict[str, float]:
    """Every metric of one classifier: fractions, but nats for `nll` and 0 to 2 for `brier`.

    `auroc` is left out where the labels are all of one class, as it has no value there, and of large splits, where it
    takes seconds, unless it is the study's metric.
    """
    guess = logits.argmax(1)
    log_probability = log_softmax(logits)
    found = {
        "accuracy": float((guess == labels).mean()),
        "mean_per_class": mean_per_class(guess == labels, labels),
        "macro_f1": macro_f1(guess, labels),
        "top5": top5(logits, labels),
        "nll": float(-log_probability[np.arange(len(labels)), labels].mean()),
        "ece": expected_calibration_error(np.exp(log_probability.max(1)), guess == labels),
        "brier": float(brier(log_probability, labels).mean()),
    }
    defined = len(np.unique(labels)) > 1 and (metric == "auroc" or logits.size <= AUROC_LIMIT)
    return found | ({"auroc": auroc(log_probability, labels)} if defined else {})


def mean_per_class(right: np.ndarray, labels: Labels) -> float:
    """The accuracy of each class that has images, averaged."""
    images = np.bincount(labels)
    correct = np.bincount(labels, weights=right, minlength=len(images))
    return float((correct[images > 0] / images[images > 0]).mean())


def macro_f1(guess: np.ndarray, labels: Labels) -> float:
    """F1 = 2 TP / (images + guesses) of each class that has an image or a guess, averaged: as scikit-learn does."""
    classes = int(max(labels.max(), guess.max())) + 1
    met = np.bincount(labels, minlength=classes) + np.bincount(guess, minlength=classes)
    right = np.bincount(labels[guess == labels], minlength=classes)
    return float((2 * right[met > 0] / met[met > 0]).mean())


FROM_GUESSES: Mapping[str, Callable[[np.ndarray, Labels], float]] = {
    "mean_per_class": lambda guess, labels: mean_per_class(guess == labels, labels),
    "macro_f1": macro_f1,
}


def auroc(log_probability: np.ndarray, labels: Labels) -> float:
    """The chance that an image of a class gets a higher probability of it `(M, K)` than an image of another class.

    A tie counts half. Averaged over the classes that have images; ValueError where one class has them all.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError("auroc compares the images of a class with others, and there is one class")
    by_class = np.ascontiguousarray(log_probability.T)
    ordered = np.sort(by_class, axis=1)
    return float(np.mean([_area(ordered[k], by_class[k, labels == k]) for k in classes]))


def _area(ordered: np.ndarray, own: np.ndarray) -> float:
    """The Mann-Whitney statistic of a class: its own values `(n,)` against the others, of all `(M,)` in order."""
    own = np.sort(own)  # searchsorted is faster on what lies in order
    below = (np.searchsorted(ordered, own, "left").sum() + np.searchsorted(ordered, own, "right").sum()) / 2
    count = len(own)  # among themselves they come to count² / 2
    return float((below - count**2 / 2) / (count * (len(ordered) - count)))


def brier(log_probability: np.ndarray, labels: Labels) -> NDArray[np.float64]:
    """Squared distance of the probabilities `(M, K)` from the truth, summed over classes: 0 to 2 for each image."""
    probability = np.exp(log_probability)
    own = probability[np.arange(len(labels)), labels]
    return np.asarray((probability**2).sum(1) - 2 * own + 1)


def top5(logits: Floats, labels: Labels) -> float:
    """Share of images whose class is among the five best; all of them where there are at most five classes.

    A tie counts against the classifier.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    return float(((logits >= own).sum(1) <= 5).mean()) if logits.shape[1] > 5 else 1.0


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins, weighted by images (arXiv:1706.04599)."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(right))


def held_out(logits: Floats, labels: Labels, metric: str = "accuracy") -> tuple[float, float]:
    """What cross-validation chooses by: the metric on the images left out and their log-likelihood in nats.

    Both times the number of images: the sums over folds are those over the support.
    """
    score = Answers(metric, logits[None], labels).scores[0]
    likelihood = log_softmax(logits)[np.arange(len(labels)), labels]
    return score * len(labels), float(likelihood.sum())
