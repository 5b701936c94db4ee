"""In which precision the towers of a backbone run while something is trained through them.

Only what a step computes in order to learn from it is lowered: products of matrices in bfloat16, with the weights, the
sums along the blocks, the gradients of the weights and what is behind the towers in float32. What is classified with
the result, and so what is scored and shipped, is computed in float32 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor

NAMES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_lowered: Callable[[], AbstractContextManager[Any]] | None = None  # of the process, as what `memory` spares


@contextmanager
def learning_in(name: str, device: str) -> Iterator[None]:
    """While the block runs, towers run in the precision `name` on a device of this type."""
    global _lowered
    before = _lowered
    # The copies of weights that autocast keeps are of no use to a recorded step, and of little to others.
    lower = name != "fp32"
    _lowered = (lambda: torch.autocast(device, NAMES[name], cache_enabled=False)) if lower else None
    try:
        yield
    finally:
        _lowered = before


def as_the_step_asks(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A tower's method that gives embeddings, in the precision of the step; they are float32."""

    @wraps(run)
    def in_precision(*given: Any) -> Tensor:
        if _lowered is None:
            return run(*given)
        with _lowered():
            return run(*given).float()

    return in_precision


def exactly(device: str) -> AbstractContextManager[Any]:
    """In float32, whatever the step asks for: of what is kept for later."""
    return nullcontext() if _lowered is None else torch.autocast(device, enabled=False)
