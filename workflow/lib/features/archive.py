"""Arrays from an npz file that somebody else may have made: never unpickled, never a surprise."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from workflow.lib.errors import UserError, one_line

Array = NDArray[Any]


def read(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, Array]:
    """Those of the arrays `names` that the file has.

    Raises `UserError` that names the file, and the array, where it is no npz file, damaged, or needs to be unpickled.
    """
    where = os.fspath(path)
    try:
        with zipfile.ZipFile(where) as archive:
            there = [name for name in names if f"{name}.npy" in archive.namelist()]
            return {name: _array(archive, name, where) for name in there}
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{where}: not an npz file, or cut short ({one_line(error)})") from error


def _array(archive: zipfile.ZipFile, name: str, where: str) -> Array:
    info = archive.getinfo(f"{name}.npy")
    try:
        with archive.open(info) as member:
            shape, dtype = _header(member)
        if dtype.hasobject:
            remedy = "np.array(names, dtype=str)" if name == "classnames" else f"it as numbers, np.stack({name})"
            raise UserError(f"{where}: {name} is an array of Python objects, which is never unpickled: save {remedy}")
        if (
            math.prod(shape) * max(1, dtype.itemsize) > info.file_size
        ):  # before so much memory, or time over empty texts, is spent
            raise ValueError(f"{dtype} of shape {shape} in {info.file_size} bytes")
        with archive.open(info) as member:
            return np.asarray(npy.read_array(member, allow_pickle=False))
    except UserError:
        raise
    except Exception as error:  # damage shows anywhere between the archive, the header and the numbers
        raise UserError(f"{where}: {name} is damaged ({one_line(error) or type(error).__name__})") from error


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type, from the start of an array's file."""
    version = npy.read_magic(member)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(member)
    return shape, dtype
