"""Which labelled images a seed draws: nested over shots, and the same for every method.

One permutation per class and seed; n shots are the first n of it. Outside a fold it is one of all images.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Labels
from methods.contract.shots import ALL
from workflow.lib.errors import UserError

FEWSHOT_VAL = 4  # images per class of the small validation set: min(shots, 4)
FOLDS = 5  # of cross-validation, or as many as the smallest class has images


def draw(
    labels: Labels,
    classnames: Sequence[str],
    shots: str,
    seed: int,
    split: str = "train",
    allow_fewer: bool = False,
    without: Labels | None = None,
) -> NDArray[np.int64]:
    """Rows of the support: `shots` per class (a number or "all"), class by class; none of the rows `without`.

    A class with fewer images gives all it has where `allow_fewer`; otherwise UserError names it.
    """
    if without is None:
        rows = [_permutation(labels, k, seed, split) for k in range(len(classnames))]
    else:
        rows, split = _outside(labels, len(classnames), seed, split, without), f"{split} outside a fold"
    if shots != ALL:
        if not allow_fewer:
            _enough(rows, classnames, int(shots), split)
        rows = [row[: int(shots)] for row in rows]
    return np.concatenate(rows)


def draw_val(labels: Labels, classnames: Sequence[str], shots: str, seed: int) -> NDArray[np.int64]:
    """Rows of the few-shot selection split: min(shots, 4) images per class of `val`, or all that a class has."""
    few = FEWSHOT_VAL if shots == ALL else min(int(shots), FEWSHOT_VAL)
    return draw(labels, classnames, str(few), seed, split="val", allow_fewer=True)


def folds(labels: Labels) -> NDArray[np.int64]:
    """The fold of each image of a support `(N,)`: 0 … k − 1 with k = min(5, images of the smallest class).

    Class by class the images are dealt round, in the order in which the seed has drawn them. So the folds differ by one
    image at most, in all and of each class, and each leaves at least one image of every class that has two.
    """
    images = np.bincount(labels)
    k = min(FOLDS, *images[images > 0]) if len(labels) else 1
    found = np.empty(len(labels), np.int64)
    found[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % k
    return found


def most_folds(shots: str) -> int:
    """How many folds a support of so many shots has at most: none of one image a class."""
    number = FOLDS if shots == ALL else min(FOLDS, int(shots))
    return number if number > 1 else 0


def _permutation(labels: Labels, k: int, seed: int, split: str) -> NDArray[np.int64]:
    rng = np.random.default_rng([seed, k, *split.encode()])
    return rng.permutation(np.flatnonzero(labels == k))


def _outside(labels: Labels, classes: int, seed: int, split: str, without: Labels) -> list[NDArray[np.int64]]:
    """The rows of each class outside a fold in one order of all images, whose labels have no say in it.

    So all folds draw alike, and nothing that is drawn for a fold hangs on the labels there.
    """
    order = np.random.default_rng([seed, *split.encode()]).permutation(len(labels))
    order = order[~np.isin(order, without)]
    return [order[labels[order] == k] for k in range(classes)]


def _enough(rows: Sequence[NDArray[np.int64]], classnames: Sequence[str], shots: int, split: str) -> None:
    for row, name in zip(rows, classnames, strict=True):
        if len(row) < shots:
            raise UserError(
                f"class '{name}' has {len(row)} images in {split}, {shots} are asked for: "
                "lower `shots`, or set `allow_fewer: true`"
            )
