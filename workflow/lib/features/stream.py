"""Rows that are too large to hold those of a split at once: each slice of them is read when it is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.lib.features.blocks import Array, Rows


class Stream:
    """Rows of a tensor, or some of them in this order, each flat: `(M, D)`."""

    def __init__(self, rows: Rows, chosen: NDArray[np.int64] | None = None) -> None:
        self._rows, self._chosen = rows, chosen
        self.dtype: np.dtype[Any] = rows.dtype
        self.shape = (len(rows) if chosen is None else len(chosen), math.prod(rows.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Array:
        """The rows of a slice, or of a list of them, in memory."""
        found: Array = self._rows[rows if self._chosen is None else self._chosen[rows]]
        return found.reshape(len(found), self.shape[1])


class Joined:
    """The rows of several tensors, one after the other: they are alike but for their number."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        ends = np.cumsum([len(part) for part in parts]).tolist()
        self._parts = list(zip(parts, [0, *ends[:-1]], ends, strict=True))
        self.dtype: np.dtype[Any] = parts[0].dtype
        self.shape = (ends[-1], *parts[0].shape[1:])

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: Any) -> Array:
        """The rows of a slice, or of a list of them, in memory."""
        wanted = np.arange(len(self))[rows]
        found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for part, start, end in self._parts:
            own = np.flatnonzero((start <= wanted) & (wanted < end))
            found[own] = part[wanted[own] - start]
        return found
