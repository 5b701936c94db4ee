"""Rows of tensors in blocks of 16 KiB, each with a checksum: what a features file is written and read in."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workflow.lib.errors import UserError

BLOCK = 2**14  # bytes: the support of one seed with 16 shots touches a tenth of ImageNet's features
AT_ONCE = 2**22  # bytes that are read or written in one piece
SUM_BYTES = 32  # SHA-256

Array = NDArray[Any]


class Rows(Protocol):
    """What rows can be taken from by slice or by index: an array, or one that lies in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As of an array."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class Blocks:
    """How the rows of a tensor fall into blocks; a single number counts as one row."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.rows = shape[0] if shape else 1
        self.row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self.height = max(1, BLOCK // max(1, self.row_bytes))
        self.count = -(-self.rows // self.height)
        self.at_once = max(1, AT_ONCE // max(1, self.height * self.row_bytes))

    def sums(self, data: bytes) -> list[bytes]:
        """The checksums of the blocks that lie in some bytes of the tensor."""
        size, view = max(1, self.height * self.row_bytes), memoryview(data)
        return [hashlib.sha256(view[start : start + size]).digest() for start in range(0, len(data), size)]


def check_finite(rows: Array, name: str, start: int, where: str) -> None:
    """Raise `UserError` where rows `start` and up of a tensor have NaN or infinite values."""
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        wrong = np.flatnonzero(~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1))
        raise UserError(f"{where}: {name} has NaN or infinite values, first in row {start + wrong[0]}")
