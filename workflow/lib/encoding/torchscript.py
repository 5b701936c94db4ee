"""The tensors of a TorchScript archive, such as OpenAI's own weights, without running any of its code.

The archive is a zip: `data.pkl` describes the module, `data/KEY` are its storages. The description is read with classes
that do nothing but hold what they are given; anything else that it names is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

# What OpenAI keeps beside the weights, and the mask that every model of open_clip makes for itself.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def is_archive(path: Path) -> bool:
    """Whether the file is a TorchScript archive and not one of tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The parameters and buffers of the module by name. Raises whatever a damaged archive leads to."""
    with zipfile.ZipFile(path) as archive:
        root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        with archive.open(f"{root}data.pkl") as file:
            module = _Reader(file, archive, root).load()
        if not isinstance(module, _Held):
            raise ValueError(f"a {type(module).__name__} in the place of a module")
        found = {name: tensor.contiguous().clone() for name, tensor in _walk(module, "")}
    return {name: tensor for name, tensor in found.items() if name.split(".")[-1] not in _NO_WEIGHTS}


class _Held:
    """An object of the archive: its attributes and nothing else."""

    def __new__(cls, *_: Any) -> _Held:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    """Reads the description with inert classes, and storages from their own entries of the archive."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Held
        if module == "torch.jit._pickle":
            return lambda value, *_: value  # they mark the type of a list
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = {("torch._utils", "_rebuild_tensor_v2"): _rebuilt, ("collections", "OrderedDict"): OrderedDict}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} in a TorchScript archive")
        return known[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, *_ = pid
        entry = self._archive.getinfo(f"{self._root}data/{key}")
        if entry.compress_type != zipfile.ZIP_STORED:  # torch packs nothing: what is packed may unpack to anything
            raise pickle.UnpicklingError(f"{entry.filename} is compressed")
        data = bytearray(self._archive.read(entry))
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _rebuilt(storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Any:
    return torch.as_strided(storage, size, stride, offset)


def _walk(module: _Held, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in module.state.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Held):
            yield from _walk(value, f"{prefix}{name}.")
