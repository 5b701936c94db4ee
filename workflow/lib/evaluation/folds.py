"""The folds of a support, and the support without each of them, as a method is given it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from weakref import WeakValueDictionary

import numpy as np

from methods.contract.base import Labels, Support
from workflow.lib.evaluation import supports

SEEDS = 10**6  # fold f of seed s has the seed (f + 1) · 10⁶ + s: no study has so many seeds


@dataclass(frozen=True)
class Fold:
    """A fold of a seed's support: its own seed, the rows of the support that are left out, and those that stay."""

    seed: int
    out: Labels
    rest: Labels


def split(seed: int, labels: Labels) -> list[Fold]:
    """The folds of a seed's support with these labels; none where a class has one image."""
    numbers = supports.folds(labels)
    count = int(numbers.max(initial=0)) + 1
    if count == 1:
        return []
    return [
        Fold(SEEDS * (f + 1) + seed, np.flatnonzero(numbers == f), np.flatnonzero(numbers != f)) for f in range(count)
    ]


class Supports(Mapping[int, Support]):
    """A support without each of its folds, by the folds' seeds.

    Made when it is asked for, and one for all who hold it at the same time: a fold more is a support more in memory.
    """

    def __init__(self, whole: Support, folds: Sequence[Fold]) -> None:
        self._whole, self._rest = whole, {fold.seed: fold.rest for fold in folds}
        self._held: WeakValueDictionary[int, Support] = WeakValueDictionary()

    def __getitem__(self, seed: int) -> Support:
        made = self._held.get(seed)
        if made is None:
            made = self._held[seed] = part(self._whole, self._rest[seed])
        return made

    def __iter__(self) -> Iterator[int]:
        return iter(self._rest)

    def __len__(self) -> int:
        return len(self._rest)


def part(support: Support, rows: Labels) -> Support:
    """Some images of a support, read-only as the whole of it is to a method."""
    taken = {field.name: getattr(support, field.name) for field in fields(support)}
    found = {name: array[rows] for name, array in taken.items() if array is not None}
    for array in found.values():
        array.flags.writeable = False
    return Support(**found)
