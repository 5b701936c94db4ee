"""Tensors in a file, written and read a little at a time, with a checksum of every 16 KiB of them.

The file is safetensors, which any reader of that format reads. Beside its tensors it holds `block_sha256 (B, 32)`, the
SHA-256 of each block of rows of each tensor, and last `sha256 (32,)`, that of the header and all of these. Whoever
takes a few rows reads the blocks in which they lie, compares their checksums, and touches nothing else; the last
checksum stands for the whole file. Rows are read by offset and not through a memory map: what a map has touched counts
as the job's memory, sixteen pages for one, and a file cut short under it ends the process without a word.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from workflow.lib import files
from workflow.lib.errors import UserError, one_line
from workflow.lib.features.blocks import SUM_BYTES, Blocks, Rows, check_finite
from workflow.lib.features.stored import Stored

FORMAT = 2
REMEDY = "delete it, and the next run makes it anew"
_SUMS, _SEAL = "block_sha256", "sha256"
_DTYPES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}
# safetensors keeps its metadata in no fixed order. All of ours is the JSON under this one key, so that equal features
# are equal bytes and their hash can stand for them.
_METADATA_KEY = "features"


def write(path: str | os.PathLike[str], tensors: Mapping[str, Rows], metadata: Mapping[str, Any]) -> None:
    """Write `tensors` and JSON-like `metadata` atomically, taking a few MB of rows at a time.

    Raises `UserError` for a value that is NaN or infinite: what can't be read is not written.
    """
    # Larger numbers first, so that all of them are aligned.
    ordered = {name: tensors[name] for name in sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)}
    header = _header(ordered, metadata)
    sums: list[bytes] = []
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        for name, tensor in ordered.items():
            blocks = Blocks(tensor.shape, tensor.dtype)
            for piece in _pieces(name, tensor, blocks, os.fspath(path)):
                file.write(piece)
                sums += blocks.sums(piece)
        file.write(b"".join([*sums, hashlib.sha256(b"".join([header, *sums])).digest()]))


def _header(tensors: Mapping[str, Rows], metadata: Mapping[str, Any]) -> bytes:
    """The eight bytes that say how long it is, and the JSON that says where each tensor lies."""
    blocks = sum(Blocks(tensor.shape, tensor.dtype).count for tensor in tensors.values())
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    shapes |= {_SUMS: (np.dtype("u1"), (blocks, SUM_BYTES)), _SEAL: (np.dtype("u1"), (SUM_BYTES,))}
    text = json.dumps({**metadata, "format": FORMAT}, sort_keys=True, allow_nan=False)
    entries: dict[str, Any] = {"__metadata__": {_METADATA_KEY: text}}
    codes, end = {dtype: code for code, dtype in _DTYPES.items()}, 0
    for name, (dtype, shape) in shapes.items():
        start, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _pieces(name: str, tensor: Rows, blocks: Blocks, where: str) -> Iterator[bytes]:
    """The bytes of a tensor, some whole blocks at a time."""
    step = blocks.height * blocks.at_once
    for start in range(0, blocks.rows, step):
        piece = np.ascontiguousarray(tensor[start : start + step] if tensor.shape else tensor)
        check_finite(piece, name, start, where)
        yield piece.tobytes()


class TensorFile:
    """A file of tensors, by name: its `metadata`, and the checksum `sha256` that stands for all of it.

    Opening it reads the header and the checksums, but no tensor. Raises `UserError` where the file is missing, of
    another kind, cut short, or damaged in these.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.where = os.fspath(path)
        if not Path(path).is_file():
            raise UserError(f"{self.where}: no such features file")
        self._descriptor = os.open(path, os.O_RDONLY)  # what replaces the file later is another one
        weakref.finalize(self, os.close, self._descriptor)
        self.metadata = self._checked_metadata()
        header = self.bytes_at(0, 8 + int.from_bytes(self.bytes_at(0, 8), "little"))
        self._entries: dict[str, Any] = json.loads(header[8:])
        del self._entries["__metadata__"]
        if unknown := sorted({entry["dtype"] for entry in self._entries.values()} - _DTYPES.keys()):
            raise UserError(
                f"{self.where}: numbers of type {', '.join(unknown)}, which no features file holds; {REMEDY}"
            )
        self._start = len(header)
        self._sums, seal = (self.bytes_at(*self._place(name)) for name in (_SUMS, _SEAL))
        if hashlib.sha256(header + self._sums).digest() != seal:
            raise self.damaged("the header")
        self.sha256 = seal.hex()

    def _checked_metadata(self) -> dict[str, Any]:
        """The metadata. That the header is sound, and the file as long as it says, is safetensors' to check."""
        try:
            with safe_open(self.where, framework="numpy") as file:
                metadata, names = json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}")), set(file.keys())
        except (SafetensorError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.where}: not a safetensors file, or cut short ({one_line(error)}); {REMEDY}"
            ) from error
        if not isinstance(metadata, dict) or metadata.pop("format", None) != FORMAT or not {_SUMS, _SEAL} <= names:
            raise UserError(f"{self.where}: not a features file of format {FORMAT}; {REMEDY}")
        return metadata

    def _place(self, name: str) -> tuple[int, int]:
        start, end = self._entries[name]["data_offsets"]
        return self._start + start, end - start

    def bytes_at(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises `UserError` where the file ends before them."""
        parts = []
        while size > 0:  # the system gives 2 GB at once
            parts.append(os.pread(self._descriptor, size, offset))
            if not parts[-1]:
                raise UserError(f"{self.where}: cut short while it was read; {REMEDY}")
            offset, size = offset + len(parts[-1]), size - len(parts[-1])
        return b"".join(parts)

    def damaged(self, what: str) -> UserError:
        """The error for a part that is not what was written."""
        return UserError(f"{self.where}: damaged: {what} does not match its checksum; {REMEDY}")

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def get(self, name: str) -> Stored | None:
        """A tensor, or None where there is none of the name."""
        if name not in self:
            return None
        return self[name]

    def __getitem__(self, name: str) -> Stored:
        """A tensor, whose rows are read when they are taken."""
        if name not in self:
            raise UserError(f"{self.where}: no array {name}")
        first = 0
        for other, entry in sorted(self._entries.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, shape, sums = _DTYPES[entry["dtype"]], tuple(entry["shape"]), memoryview(self._sums)
            stored = Stored(self, other, dtype, shape, self._place(other)[0], sums[SUM_BYTES * first :])
            if other == name:
                return stored
            first += stored.blocks.count
        raise AssertionError(name)
