"""Names of images as bytes in a tensor file: as text in its header they would outgrow what safetensors allows there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from workflow.lib.data.index import SPLITS
from workflow.lib.features.tensorfile import TensorFile


def key(split: str) -> str:
    """The name of the tensor that holds the names of a split's images."""
    return f"{split}_files"


def pack(names: Sequence[str]) -> NDArray[np.uint8]:
    """The names as one row of UTF-8, each ended by a zero, which no name of a file can hold."""
    return np.frombuffer("".join(f"{name}\0" for name in names).encode(errors="surrogatepass"), np.uint8)


class FileLists(Mapping[str, Sequence[str]]):
    """The names of the images of each split, read when they are asked for: only supports by name want them."""

    def __init__(self, file: TensorFile) -> None:
        self._file = file

    def __getitem__(self, split: str) -> list[str]:
        if key(split) not in self._file:
            raise KeyError(split)
        return self._file[key(split)][:].tobytes().decode(errors="surrogatepass").split("\0")[:-1]

    def __iter__(self) -> Iterator[str]:
        return (split for split in SPLITS if key(split) in self._file)

    def __len__(self) -> int:
        return sum(1 for _ in self)
