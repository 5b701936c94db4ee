"""What a shipped classifier changes in the backbone's image tower, as its file has it.

The arrays are `tower.<name>`, by the tower's own name for the tensor that they replace, or `tower.<name>.a` and
`tower.<name>.b`, whose product is added. The JSON lists the names: what it does not name must not be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from methods.contract.changes import Changes
from methods.contract.program import Numbers

_PREFIX = "tower."


def told(changes: Changes) -> dict[str, Any]:
    """The changes but for their arrays, as JSON has them."""
    return {"replaced": sorted(changes.replaced), "added": sorted(changes.added), "bytes": changes.nbytes}


def named(changes: Changes) -> dict[str, Numbers]:
    """Their arrays, as they lie beside those of the programs."""
    return {f"{_PREFIX}{name}": np.ascontiguousarray(array) for name, array in changes.arrays().items()}


def found(said: Mapping[str, Any], arrays: Mapping[str, Numbers]) -> Changes:
    """The changes in a file, of which the JSON says this. Raises ValueError, with what is wrong with them.

    Whether they fit a tower is seen when they are put into it.
    """
    own = {name.removeprefix(_PREFIX): array for name, array in arrays.items() if name.startswith(_PREFIX)}
    replaced, added = said["replaced"], said["added"]
    wanted = [*replaced, *(f"{name}.{part}" for name in added for part in "ab")]
    if missing := [name for name in wanted if name not in own]:
        raise ValueError(f"no array {_PREFIX}{missing[0]}")
    if unknown := sorted(own.keys() - set(wanted)):
        raise ValueError(f"{_PREFIX}{unknown[0]} is an array that nothing names")
    for name, array in own.items():
        _check(name, array)
    made = Changes({name: own[name] for name in replaced}, {name: _pair(name, own) for name in added})
    if made.nbytes != said["bytes"]:
        raise ValueError(f"{made.nbytes} bytes, where {said['bytes']} are told of")
    return made


def _check(name: str, array: Numbers) -> None:
    if array.dtype != np.float32:
        raise ValueError(f"{_PREFIX}{name} is {array.dtype}; float32 is wanted")
    if not np.isfinite(array).all():
        raise ValueError(f"{_PREFIX}{name} has NaN or infinite values")


def _pair(name: str, own: Mapping[str, Numbers]) -> tuple[Numbers, Numbers]:
    a, b = own[f"{name}.a"], own[f"{name}.b"]
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"{_PREFIX}{name}: a product of shapes {a.shape} and {b.shape}; (n, r) and (r, m) are wanted")
    return a, b
