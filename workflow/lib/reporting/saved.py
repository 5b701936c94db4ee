"""The predictions of a cell, read back: checked, so that what doesn't fit is never stretched and called right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow.lib.errors import UserError
from workflow.lib.features import archive

_AGAIN = "delete it, and the next run makes it anew"
UNBALANCED = 1.5  # the largest class over the smallest that has images
ONE_CLASS = 0.99  # of the images: a classifier that gives so many the same class has found nothing


@dataclass(frozen=True)
class Saved:
    """What the variants of a cell said of the M reported images, with each of S seeds, and which images there were."""

    labels: NDArray[np.int64]  # (M,)
    classnames: Sequence[str]
    images: Mapping[str, NDArray[np.int64]]  # of each class (K,) in every split that the cell read
    predicted: Mapping[str, NDArray[np.int64]]  # by variant, classes (S, M)
    logits: Mapping[str, NDArray[np.floating]]  # by variant, (S, M, K); empty where not asked for

    @property
    def unbalanced(self) -> bool:
        """Whether the reported split has over 1.5 times as many images of one class as of another."""
        images = np.bincount(self.labels)
        return bool(images.max() > UNBALANCED * images[images > 0].min())

    def hits(self, variant: str) -> NDArray[np.bool_]:
        """Which images a variant got right `(S, M)`."""
        return self.predicted[variant] == self.labels

    def recalls(self, variant: str) -> NDArray[np.float64]:
        """The share of each class that is recognised `(K,)`, over seeds; NaN of a class without images."""
        hits = self.hits(variant)
        right = np.bincount(self.labels, weights=hits.sum(0), minlength=len(self.classnames))
        images = np.bincount(self.labels, minlength=len(self.classnames))
        with np.errstate(invalid="ignore"):
            return np.asarray(right / (images * len(hits)))

    def monotonous(self, variant: str) -> str:
        """The class that a variant says of over 99 % of all images, if there is one and it isn't the only class."""
        said = np.bincount(self.predicted[variant].ravel(), minlength=len(self.classnames))
        most = int(said.argmax())
        return self.classnames[most] if said[most] > ONE_CLASS * said.sum() and len(self.classnames) > 1 else ""


def read(path: Path, logits: bool = False) -> Saved:
    """The predictions of a cell, with logits where they are asked for. Raises UserError that names the file."""
    wanted = ("labels", "predicted", "variants", "classnames", "splits", "images", *(["logits"] if logits else []))
    try:
        found = archive.read(path, wanted)
    except UserError as error:
        raise UserError(f"{path}: no predictions can be read from it ({error}); {_AGAIN}") from error
    arrays = [found.get(name, np.empty(())) for name in wanted]
    _check(path, *arrays[:6])
    labels, predicted, variants, classnames, splits, images = arrays[:6]
    names = [str(name) for name in variants]
    if logits:
        _check_logits(path, arrays[6], predicted, len(classnames))
    return Saved(
        labels,
        [str(name) for name in classnames],
        {str(split): one for split, one in zip(splits, images, strict=True)},
        dict(zip(names, predicted, strict=True)),
        dict(zip(names, arrays[6], strict=True)) if logits else {},
    )


def _check(path: Path, *arrays: NDArray[np.generic]) -> None:
    labels, predicted, variants, classnames, splits, images = arrays
    numbers = all(array.dtype.kind in "iu" for array in (labels, predicted, images))
    names = all(array.dtype.kind == "U" and array.ndim == 1 for array in (variants, classnames, splits))
    fits = (
        numbers
        and names
        and labels.ndim == 1
        and labels.size > 0
        and predicted.ndim == 3
        and (len(predicted), predicted.shape[2]) == (len(variants), len(labels))
        and images.shape == (len(splits), len(classnames))
        and all(array.min(initial=0) >= 0 and array.max(initial=0) < len(classnames) for array in (labels, predicted))
    )
    if not fits:
        shapes = [array.shape for array in arrays]
        raise UserError(
            f"{path}: labels, predicted, variants, classnames, splits and images have shapes {shapes}; integers (M,) "
            f"and (V, S, M) below K, names (V,), (K,) and (P,) and integers (P, K) are wanted; {_AGAIN}"
        )


def _check_logits(path: Path, logits: NDArray[np.generic], predicted: NDArray[np.generic], classes: int) -> None:
    if logits.shape != (*predicted.shape, classes) or logits.dtype.kind != "f" or not np.isfinite(logits).all():
        raise UserError(
            f"{path}: logits have shape {logits.shape}; finite numbers {(*predicted.shape, classes)} are wanted: all "
            "are saved by a study with `metric: auroc`, or with few images and classes"
        )
