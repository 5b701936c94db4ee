"""What the best of R rows is worth: it was picked because it was good here, and elsewhere it will be less so.

Each of B times the images are resampled, and each seed in turn is left out. The row with the highest mean over the
resampled images and the other seeds is picked; its value is taken on what had no say in that: the images that were not
drawn, with the seed that was left out. Let P be such a pick and W the best row of all. What W is worth is

    value = observed(W) + mean over picks of (outside(P) - outside(W))

The mean of outside(W) over all resamples is observed(W) but for the chance of the draws, which the difference takes
out: so the value is the mean of outside(P), what a row that was picked so comes to where it was not picked. (This is
the bootstrap bias correction of Tsamardinos, Greasidou and Borboudakis, 2018, doi 10.1007/s10994-018-5714-4, over seeds
too.) Where rows are alike the correction is whole; where one row is always picked there is none. The picks see one seed
and a third of the images less than the study does, so that the value is rather too low than too high.

With one seed the correction is for images alone. A metric is linear in its images here: see `terms`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workflow.lib.reporting.statistics import Floats, Terms, paired, weights

RESAMPLES = 1000
SAME = 1e-10  # metrics that differ by less are equal: sums of the same fractions in another order


@dataclass(frozen=True)
class Winner:
    """The best of R rows: what it is worth, in the metric, and in what share of the picks each row was first `(R,)`."""

    value: float
    first: Floats


def winner(
    rows: Sequence[Terms],
    best: int,
    classes: NDArray[np.int64] | None = None,
    name: str = "",
    resamples: int = RESAMPLES,
) -> Winner:
    """What the row `best` is worth, the highest of these rows at one place; images are drawn within `classes (M,)`.

    `name` is that of the dataset: the same name draws the same images.
    """
    full = paired(rows)
    terms = np.stack([row.terms for row in full])
    offset = np.stack([row.offset for row in full])[:, :, None]
    divisor, first, loss = full[0].divisor, np.zeros(len(full)), 0.0
    for drawn in weights(terms.shape[2], classes, name, resamples):
        inside, outside = (_sums(terms, some) + offset for some in (drawn, left_out(drawn, classes)))
        picked = _picked(_others(inside) / divisor)
        loss += float(((picked * outside).sum(0) - outside[best]).sum())
        first += picked.sum((1, 2))
    picks = resamples * terms.shape[1]
    observed = float((terms[best].sum(1) + offset[best, :, 0]).mean())
    return Winner((observed + min(loss / picks, 0.0)) / divisor, first / picks)


def _sums(terms: Floats, counts: Floats) -> Floats:
    """Terms `(R, S, M)` summed over images that count so often `(b, M)`: `(R, S, b)`."""
    return np.asarray((terms.reshape(-1, terms.shape[2]) @ counts.T).reshape(*terms.shape[:2], -1))


def left_out(drawn: Floats, classes: NDArray[np.int64] | None) -> Floats:
    """How much each image counts outside of resamples `(b, M)`: 0 if it was drawn, and each class as much as before.

    A class none of whose images is left counts with all of them, as those of a single image always do.
    """
    found = (drawn == 0).astype(np.float64)
    groups = np.zeros(drawn.shape[1], np.int64) if classes is None else np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(groups)
    order = np.argsort(groups, kind="stable")
    there = np.add.reduceat(found[:, order], np.cumsum(sizes) - sizes, axis=1)
    scale = np.where(there > 0, sizes / np.maximum(there, 1), 0)
    return np.asarray(found * scale[:, groups] + (there == 0)[:, groups])


def _others(values: Floats) -> Floats:
    """The sum over the other seeds, of values `(R, S, b)`; with one seed its own."""
    return values if values.shape[1] == 1 else values.sum(1, keepdims=True) - values


def _picked(values: Floats) -> Floats:
    """1 for the highest of each column of `(R, …)`, a share of it for each of several, 0 for the others."""
    highest = (values >= values.max(0) - SAME).astype(np.float64)
    return np.asarray(highest / highest.sum(0))
