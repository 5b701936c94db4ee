"""A tensor that lies in a file: rows of it are read when they are taken, and held against their checksums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from workflow.lib.errors import UserError
from workflow.lib.features.blocks import SUM_BYTES, Array, Blocks, check_finite


class Bytes(Protocol):
    """The file that a tensor lies in: its path, its bytes, and the error for those that are damaged."""

    where: str

    def bytes_at(self, offset: int, size: int) -> bytes: ...

    def damaged(self, what: str) -> UserError: ...


class Stored:
    """A tensor in a file. Rows are read, and compared with the checksums of their blocks, whenever they are taken.

    Raises `UserError`, with the rows, where they are not what was written.
    """

    def __init__(
        self, file: Bytes, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, sums: memoryview
    ) -> None:
        self._file, self._name, self._offset, self._sums = file, name, offset, sums
        self.dtype, self.shape = dtype, shape
        self.blocks = Blocks(self.shape, self.dtype)

    def __len__(self) -> int:
        return self.blocks.rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:].reshape(self.shape), dtype)

    def __getitem__(self, rows: Any) -> Array:
        """The rows of any index that NumPy takes for one axis; memory is used for them and a few MB more."""
        if isinstance(rows, slice) and rows.step in (None, 1):
            return self._between(*rows.indices(len(self))[:2])
        wanted = np.arange(len(self))[rows]
        order = np.argsort(wanted, axis=None, kind="stable")
        ascending = wanted.ravel()[order]
        found = np.empty((wanted.size, *self.shape[1:]), self.dtype)
        for first, last in self._runs(ascending):
            start, part = first * self.blocks.height, self._read(first, last)
            low, high = np.searchsorted(ascending, [start, start + len(part)])
            found[order[low:high]] = part[ascending[low:high] - start]
        return found.reshape(*wanted.shape, *self.shape[1:])

    def _between(self, start: int, stop: int) -> Array:
        """The rows from `start` to `stop`: no list of them is needed, which for bytes is larger than they are."""
        found, height = np.empty((max(0, stop - start), *self.shape[1:]), self.dtype), self.blocks.height
        end = -(-stop // height) if stop > start else 0
        for first in range(start // height, end, self.blocks.at_once):
            part = self._read(first, min(first + self.blocks.at_once, end) - 1)[: stop - first * height]
            skipped = max(0, start - first * height)
            place = first * height + skipped - start
            found[place : place + len(part) - skipped] = part[skipped:]
        return found

    def _runs(self, ascending: Array) -> Iterator[tuple[int, int]]:
        """The blocks of these rows, as the first and the last of blocks that lie side by side."""
        blocks = np.unique(ascending // self.blocks.height)
        for run in np.split(blocks, np.flatnonzero(np.diff(blocks) > 1) + 1):
            for start in range(0, len(run), self.blocks.at_once):
                part = run[start : start + self.blocks.at_once]
                yield int(part[0]), int(part[-1])

    def _read(self, first: int, last: int) -> Array:
        """The rows of the blocks `first` to `last`."""
        blocks, start = self.blocks, first * self.blocks.height
        stop = min((last + 1) * blocks.height, blocks.rows)
        data = self._file.bytes_at(self._offset + start * blocks.row_bytes, (stop - start) * blocks.row_bytes)
        for i, own in enumerate(blocks.sums(data)):
            if own != self._sums[SUM_BYTES * (first + i) : SUM_BYTES * (first + i + 1)]:
                low = start + i * blocks.height
                raise self._file.damaged(f"{self._name}, rows {low} to {min(low + blocks.height, stop) - 1},")
        rows: Array = np.frombuffer(data, self.dtype).reshape(stop - start, *self.shape[1:])
        check_finite(rows, self._name, start, self._file.where)
        return rows
