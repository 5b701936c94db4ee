"""Prediction sets that hold the true class with a stated probability: split conformal prediction.

Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; the score is that of least ambiguous
set-valued classifiers (Sadinle, Lei and Wasserman, arXiv:1609.00451): 1 less the probability of the class. Notation as
in Angelopoulos and Bates, arXiv:2107.07511. n images calibrate, of the same kind as those that are asked about and not
among those that the classifier was fitted to. Without ties among scores the level holds exactly; ties add to it.
"""

from collections import Counter
from collections.abc import Iterable
from math import ceil

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Labels

Numbers = NDArray[np.float64]
Sets = NDArray[np.bool_]
_ROUNDING = 1e-9  # (n + 1) · level is a whole number more often than floats say


def rank(images: int, level: float) -> int:
    """⌈(n + 1) · level⌉: which of n calibration scores, in order, is the threshold; n + 1 where they are too few."""
    return max(1, ceil((images + 1) * level - _ROUNDING))


def quantile(scores: Numbers, level: float) -> float:
    """The finite-sample quantile of scores `(n,)`: infinite where n < level / (1 - level), so that sets hold all."""
    k = rank(len(scores), level)
    return float(np.partition(scores, k - 1)[k - 1]) if k <= len(scores) else float("inf")


def scores(probability: Numbers, labels: Labels) -> Numbers:
    """1 less the probability `(n, K)` of the true class, `(n,)`."""
    return np.asarray(1 - probability[np.arange(len(labels)), labels])


def marginal(probability: Numbers, labels: Labels, level: float) -> Numbers:
    """Thresholds `(K,)`, one for all classes: the level holds on average over images."""
    return np.full(probability.shape[1], quantile(scores(probability, labels), level))


def mondrian(probability: Numbers, labels: Labels, level: float) -> Numbers:
    """Thresholds `(K,)`, each from the calibration images of its class alone: the level holds in every class.

    A class with too few of them has an infinite threshold and is in every set.
    """
    own = scores(probability, labels)
    return np.array([quantile(own[labels == k], level) for k in range(probability.shape[1])])


def sets(probability: Numbers, thresholds: Numbers) -> Sets:
    """Which classes are in the set of each image, `(M, K)`; a set may be empty."""
    return np.asarray(1 - probability <= thresholds)


def coverage(found: Sets, labels: Labels) -> float:
    """The share of images whose set `(M, K)` holds their class."""
    return float(found[np.arange(len(labels)), labels].mean())


def set_size(found: Sets) -> float:
    """The mean number of classes in a set."""
    return float(found.sum(1).mean())


def band(parts: Iterable[tuple[int, int]], level: float, sure: float = 0.95) -> tuple[float, float]:
    """The `sure` band of the coverage, where the level holds: what is outside is more than chance.

    `parts` are pairs (n that calibrate, m that are asked about): one of a marginal threshold, one for each class where
    each has its own. Of n scores the rank k = ⌈(n + 1) · level⌉ covers a share that is Beta(k, n + 1 - k), so that the
    covered among m are beta-binomial; those of several parts add up.
    """
    asked = [(images, count) for images, count in parts if count]
    total = sum(count for _, count in asked)
    if not total:
        return 0.0, 1.0
    spectrum = np.ones((total + 1) // 2 + 1, complex)
    for (images, count), times in Counter(asked).items():  # classes are often of one size
        spectrum *= np.fft.rfft(_covered(images, count, level), total + 1) ** times
    cumulative = np.cumsum(np.fft.irfft(spectrum, total + 1))
    tail = (1 - sure) / 2
    low, high = (int(np.searchsorted(cumulative, at)) for at in (tail, 1 - tail))
    return min(low, total) / total, min(high, total) / total


def _covered(images: int, count: int, level: float) -> Numbers:
    """The chances `(m + 1,)` of 0 to m covered among m."""
    from scipy.special import betaln, gammaln

    k = rank(images, level)
    if k > images:  # every set holds every class
        return np.eye(1, count + 1, count)[0]
    j = np.arange(count + 1)
    ways = gammaln(count + 1) - gammaln(j + 1) - gammaln(count - j + 1)
    return np.asarray(np.exp(ways + betaln(j + k, count - j + images + 1 - k) - betaln(k, images + 1 - k)))
