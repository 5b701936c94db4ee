"""A mark for images that are of no class: far from every image of the support, in the space of the features.

The distance is 1 less the cosine to the k-th nearest image of the support (Sun et al., arXiv:2204.06507). The threshold
comes from the support alone: every image of it against the others.
"""

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Floats, unit
from workflow.lib.evaluation import conformal

Numbers = NDArray[np.float64]
NEIGHBOURS = 1
_SLICE = 1024  # rows of images that are compared at a time


def distances(x: Floats, support: Floats, neighbours: int = NEIGHBOURS) -> Numbers:
    """The distance of features `(M, D)`, of any length, to the support `(N, D)`: `(M,)`, from 0 to 2.

    `neighbours` is which of the nearest counts; the farthest where the support has fewer images.
    """
    return _kth(unit(x), unit(support), neighbours, own=False)


def within(support: Floats, neighbours: int = NEIGHBOURS) -> Numbers:
    """The distance of each image of the support `(N, D)` to the others, `(N,)`; infinite where there is no other."""
    rows = unit(support)
    return _kth(rows, rows, neighbours, own=True) if len(rows) > 1 else np.full(len(rows), np.inf)


def threshold(support: Floats, false_alarms: float = 0.05, neighbours: int = NEIGHBOURS) -> float:
    """The distance above which an image is marked, so that at most `false_alarms` of the images of the classes are.

    The finite-sample quantile of `within`. That is from cross-validation with folds of one image, so the rate holds for
    images of the same kind as the support, on average, and nearly: a new image has one neighbour more. Infinite with
    fewer than 1 / false_alarms - 1 images: nothing is marked. With one image a class every image is compared with those
    of other classes, and fewer images are marked than could be.
    """
    return conformal.quantile(within(support, neighbours), 1 - false_alarms)


def _kth(x: Floats, support: Floats, neighbours: int, own: bool) -> Numbers:
    """Of unit rows, a slice at a time. `own` is whether row i is row i of the support: it does not count."""
    k = min(neighbours, len(support) - own)
    found = []
    for start in range(0, len(x), _SLICE):
        cosines = x[start : start + _SLICE] @ support.T
        if own:
            rows = np.arange(len(cosines))
            cosines[rows, start + rows] = -np.inf
        found.append(-np.partition(-cosines, k - 1, axis=1)[:, k - 1])
    return np.maximum(0.0, 1 - np.concatenate(found, dtype=np.float64)) if found else np.zeros(0)
