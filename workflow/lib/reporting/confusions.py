"""The pairs of classes that a row confuses most, and which images they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from methods.contract.base import Labels
from workflow.lib.reporting.saved import Saved

LISTED = 50  # pairs


@dataclass(frozen=True)
class Confusion:
    """Images of the class `truth` that were said to be `said`: how many answers of all seeds.

    `of_class` is their share of the answers on the class's images, `of_errors` of all wrong answers. `images (n,)` are
    the images, the most often confused first, and `times (n,)` with how many seeds.
    """

    truth: str
    said: str
    answers: int
    of_class: float
    of_errors: float
    images: Labels
    times: Labels


def confusions(saved: Saved, variant: str, listed: int = LISTED) -> list[Confusion]:
    """The pairs of a variant, the most answers first; of equals in the order of the classes."""
    predicted, names = saved.predicted[variant], saved.classnames
    wrong = predicted != saved.labels
    codes = np.where(wrong, saved.labels * len(names) + predicted, -1)
    pairs, counts = np.unique(codes[wrong], return_counts=True)
    images = np.bincount(saved.labels, minlength=len(names)) * len(predicted)
    found = []
    for i in np.argsort(-counts, kind="stable")[:listed]:
        truth, said = divmod(int(pairs[i]), len(names))
        times = (codes == pairs[i]).sum(0)
        at = np.flatnonzero(times)
        at = at[np.argsort(-times[at], kind="stable")]
        count, of_class, of_errors = int(counts[i]), counts[i] / images[truth], counts[i] / counts.sum()
        found.append(Confusion(names[truth], names[said], count, float(of_class), float(of_errors), at, times[at]))
    return found


def named(files: Sequence[str] | None, rows: Labels) -> list[str]:
    """The names of images by their rows, or `row 17` where they have none."""
    return [f"row {row}" if files is None else files[row] for row in rows.tolist()]
