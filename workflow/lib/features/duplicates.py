"""The same picture in two splits: exactly, by the files' content, or nearly, by the features.

Features are compared block by block, so that memory stays bounded whatever the number of images. How near is too near
depends on the images: of photographs of everything two are never as alike as any two of one kind of cloth. So the bound
is set by the dataset: a fifteenth of the distance (1 - cosine) that the median image has to its nearest one in train.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import unit
from workflow.lib.errors import UserError
from workflow.lib.features.blocks import Rows
from workflow.lib.features.store import Features

LISTED = 1000  # pairs of two splits
NEARER = 15  # times nearer than the median image's nearest
LOWEST, HIGHEST = 0.9, 0.9999  # what the bound may be
_BLOCK = 4096  # rows
_SAMPLE = 1000  # images that the median is taken of
MOST = 4e9  # comparisons: 25 000 images with 768 numbers against as many, 6e8, take 20 seconds on two cores

Floats = NDArray[np.float32]
Pair = tuple[str, str, float]  # an image of each split, and the cosine


@dataclass(frozen=True)
class Shared:
    """What two splits share: how many images of the second are in the first, `exact`, or look like one there, `near`.

    `pairs` are the first of them, exact ones (cosine 1) on top. `near` is -1 where there were too many to compare.
    """

    splits: tuple[str, str]
    exact: int
    near: int
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Report:
    """What all splits share, and the cosine from which on images count as near."""

    bound: float
    shared: Sequence[Shared]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Report:
        """Raises `UserError` where `value` is no report."""
        try:
            shared = [
                Shared(
                    (str(one["splits"][0]), str(one["splits"][1])), int(one["exact"]), int(one["near"]), one["pairs"]
                )
                for one in value["shared"]
            ]
            return cls(float(value["bound"]), shared)
        except (KeyError, TypeError, ValueError, IndexError):
            raise UserError(f"{where}: no report on duplicates; delete it, and the next run makes it anew") from None


def find(features: Features, hashes: Mapping[str, str], bound: float | None = None) -> Report:
    """Every two splits of `features` compared. `hashes` has the content of files that have a double, by their names.

    `bound` is set by the dataset where it is not given.
    """
    chosen = bound if bound is not None else _bound(features)
    return Report(chosen, [_shared(features, hashes, chosen, *pair) for pair in combinations(features.splits, 2)])


def names(features: Features, split: str) -> Sequence[str]:
    """The files of a split, or the numbers of its rows where they came without."""
    if split in features.files:
        return features.files[split]
    return [f"row {row}" for row in range(len(features.splits[split].y))]


def _shared(features: Features, hashes: Mapping[str, str], bound: float, first: str, second: str) -> Shared:
    files = names(features, first), names(features, second)
    owner = {hashes[file]: file for file in reversed(files[0]) if file in hashes}
    exact = [(owner[hashes[file]], file, 1.0) for file in files[1] if hashes.get(file) in owner]
    x = features.splits[first].x, features.splits[second].x
    if float(len(x[0])) * len(x[1]) > MOST:
        return Shared((first, second), len(exact), -1, exact[:LISTED])
    known = {file for _, file, _ in exact}
    near, pairs = set(), []
    for i, j, cosine in _near(*x, bound):
        if files[1][j] not in known:
            near.add(j)
            pairs.append((files[0][i], files[1][j], round(cosine, 6)))
    pairs = sorted(pairs, key=lambda pair: (-pair[2], pair))
    return Shared((first, second), len(exact), len(near), [*exact, *pairs][:LISTED])


def _near(a: Rows, b: Rows, bound: float) -> Iterator[tuple[int, int, float]]:
    """For each row of `b` that has one of `a` as near as `bound`: the nearest, as `(row of a, row of b, cosine)`."""
    for start, block in _blocks(b):
        best, where = np.full(len(block), -2.0, np.float32), np.zeros(len(block), np.int64)
        for offset, other in _blocks(a):
            cosines = block @ other.T
            at = cosines.argmax(1)
            found = np.take_along_axis(cosines, at[:, None], 1)[:, 0]
            better = found > best
            best[better], where[better] = found[better], offset + at[better]
        for row in np.flatnonzero(best >= bound).tolist():
            yield int(where[row]), start + row, float(min(best[row], 1.0))


def _blocks(x: Rows) -> Iterator[tuple[int, Floats]]:
    """Some rows at a time, of unit length, with the number of the first."""
    for start in range(0, len(x), _BLOCK):
        yield start, unit(np.asarray(x[start : start + _BLOCK]))


def _bound(features: Features) -> float:
    """See the module. Images that are as good as equal don't count: many doubles must not hide the others."""
    first, *others = features.splits
    distances = [1.0 - cosine for split in others for cosine in _sampled(features, first, split)]
    apart = [distance for distance in distances if distance > 1 - HIGHEST]
    if not apart:
        return HIGHEST
    return float(np.clip(1 - float(np.median(apart)) / NEARER, LOWEST, HIGHEST))


def _sampled(features: Features, first: str, split: str) -> list[float]:
    """The cosine to the nearest in `first` of images spread evenly over a split."""
    x = features.splits[split].x
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), _SAMPLE)).astype(np.int64))
    return [cosine for _, _, cosine in _near(features.splits[first].x, x[rows], -1.0)]
