"""Labels that may be wrong: images whose label a classifier that has not seen them contradicts with confidence.

The rule is that of confident learning (Northcutt, Jiang and Chuang, 2021, arXiv:1911.00068; the library: cleanlab). Let
p(k | x) be out of fold, and t(k) its mean over the images labelled k. Of an image the confident class is the most
probable one among those with p(k | x) >= t(k); where that is not its label, the label is suspected. The list is in the
order of p(label | x) - p(confident | x).

The classifier is a cheap one in closed form: classes are Gaussians around their means with one covariance, shrunk
towards a multiple of the identity (oracle approximating shrinkage: Chen, Wiesel, Eldar and Hero, 2010,
doi 10.1109/TSP.2010.2053029), on features of unit length. All folds come from sums over the rows of each, so that the
features are read in slices, once for the sums and twice for the probabilities.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from methods.contract.base import Floats, Labels, unit
from workflow.lib.features.blocks import Rows

FOLDS = 5
_SLICE = 4096  # rows in memory at a time
_TEMPERED = 20_000  # images that the temperature is fitted on, at most
_TEMPERATURES = np.geomspace(0.25, 64, 65)

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Suspects:
    """Images whose labels are suspected, the worst first: places in what was looked at `(n,)`, and their `labels (n,)`.

    `confident (n,)` are the classes that they look like, `own` and `other (n,)` the probabilities of the label and of
    that class. `accuracy` is that of the classifier out of fold, on the `images` that were looked at; of the classes
    `alone` there is one image each, which no fold can leave out.
    """

    places: Labels
    labels: Labels
    confident: Labels
    own: Doubles
    other: Doubles
    accuracy: float
    images: int
    alone: Labels


def suspects(x: Rows, rows: Labels, y: Labels, classes: int) -> Suspects:
    """The suspected labels among some rows of `x (N, D)`, with labels `y (len(rows),)` below `classes`."""
    counts = np.bincount(y, minlength=classes)
    places = np.flatnonzero(counts[y] > 1)
    alone = np.flatnonzero(counts == 1)
    names, labels = np.unique(y[places], return_inverse=True)
    if len(names) < 2:
        none = np.zeros(0)
        return Suspects(places[:0], places[:0], places[:0], none, none, float("nan"), 0, alone)
    found = _OutOfFold(x, rows[places], labels)
    most, other, own, accuracy = _confident(found)
    wrong = np.flatnonzero((most >= 0) & (most != labels))
    wrong = wrong[np.argsort(own[wrong] - other[wrong], kind="stable")]
    at = places[wrong]
    return Suspects(at, y[at], names[most[wrong]], own[wrong], other[wrong], accuracy, len(places), alone)


def _confident(found: "_OutOfFold") -> tuple[Labels, Doubles, Doubles, float]:
    """Of every image the confident class or -1, its probability, that of the label, and the share that is right."""
    labels = found.labels
    own, right = np.empty(len(labels)), 0
    for at, probability in found.probabilities():
        own[at] = probability[np.arange(len(at)), labels[at]]
        right += int((probability.argmax(1) == labels[at]).sum())
    bound = np.bincount(labels, weights=own) / np.bincount(labels)
    most, other = np.full(len(labels), -1), np.zeros(len(labels))
    for at, probability in found.probabilities():
        confident = np.where(probability >= bound, probability, -1.0)
        there = confident.max(1) >= 0
        most[at[there]] = confident[there].argmax(1)
        other[at[there]] = confident[there].max(1)
    return most, other, own, right / len(labels)


def fold_of(labels: Labels) -> Labels:
    """The fold of each image `(N,)`: those of a class are dealt round, so that no fold has all of two or more."""
    found = np.empty(len(labels), np.int64)
    found[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return found


class _OutOfFold:
    """A classifier for each fold, of the images outside it, and the probabilities of those inside."""

    def __init__(self, x: Rows, rows: Labels, labels: Labels) -> None:
        self._x, self._rows, self.labels = x, rows, labels
        self._fold = fold_of(labels)
        self._folds = [np.flatnonzero(self._fold == fold) for fold in range(FOLDS)]
        classes, width = int(labels.max()) + 1, x.shape[1]
        self._counts = np.stack([np.bincount(labels[at], minlength=classes) for at in self._folds])
        sums, squares = np.zeros((FOLDS, classes, width)), np.zeros((FOLDS, width, width))
        for fold, at, taken in self._slices():
            member = csr_array((np.ones(len(at), np.float32), (labels[at], np.arange(len(at)))), (classes, len(at)))
            sums[fold] += member @ taken
            squares[fold] += taken.T @ taken
        self._heads = [
            _gaussian(self._counts.sum(0) - self._counts[f], sums.sum(0) - sums[f], squares.sum(0) - squares[f])
            for f in range(FOLDS)
        ]
        self._temperature = self._fitted()

    def probabilities(self) -> Iterator[tuple[Labels, Doubles]]:
        """Places and the probabilities of their classes `(n, K)`, a slice at a time."""
        for at, logits in self._logits():
            yield at, np.exp(_log_softmax(logits / self._temperature))

    def _logits(self) -> Iterator[tuple[Labels, Doubles]]:
        for fold, at, taken in self._slices():
            weight, bias = self._heads[fold]
            yield at, taken @ weight + bias

    def _slices(self) -> Iterator[tuple[int, Labels, Floats]]:
        for fold, members in enumerate(self._folds):
            for start in range(0, len(members), _SLICE):
                at = members[start : start + _SLICE]
                yield fold, at, unit(self._x[self._rows[at]])

    def _fitted(self) -> float:
        """The temperature of the highest likelihood out of fold: Gaussians of many dimensions are too sure."""
        total, seen = np.zeros(len(_TEMPERATURES)), 0
        for at, logits in self._logits():
            own = (np.arange(len(at)), self.labels[at])
            total += [_log_softmax(logits / one)[own].sum() for one in _TEMPERATURES]
            seen += len(at)
            if seen >= _TEMPERED:
                break
        return float(_TEMPERATURES[total.argmax()])


def _gaussian(counts: Labels, sums: Doubles, squares: Doubles) -> tuple[Doubles, Doubles]:
    """Weight `(D, K)` and bias `(K,)` of Gaussians around class means with one shrunk covariance."""
    means = sums / np.maximum(counts, 1)[:, None]
    covariance = squares - (means * counts[:, None]).T @ means
    covariance = _shrunk(covariance / max(1, counts.sum() - len(counts)), max(1, int(counts.sum()) - len(counts)))
    weight = np.asarray(np.linalg.solve(covariance, means.T), np.float64)
    prior = np.log(np.maximum(counts, 1) / counts.sum())
    return weight, np.asarray(prior - 0.5 * np.einsum("kd,dk->k", means, weight))


def _shrunk(covariance: Doubles, images: int) -> Doubles:
    """Towards the identity times the mean variance, as far as so many images ask for; without 2/D, as scikit-learn."""
    width, trace = len(covariance), float(np.trace(covariance))
    square = float((covariance**2).sum())
    apart = (images + 1) * (square - trace**2 / width)
    share = 1.0 if apart <= 0 else min(1.0, (square + trace**2) / apart)
    floor = max(trace / width, 1e-12)  # of features that are all the same
    return np.asarray((1 - share) * covariance + max(share, 1e-6) * floor * np.eye(width))


def _log_softmax(logits: Doubles) -> Doubles:
    shifted = logits - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
