"""A moving average of the weights, which takes their place when the head classifies."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Average:
    """Of the weights of all replicas: it begins as they are after the first step, then keeps so much of itself."""

    def __init__(self, weights: Mapping[str, Tensor], keep: float) -> None:
        self._weights = [weight.detach() for weight in weights.values()]
        self._keep, self._begun = keep, False
        self.values = [weight.clone() for weight in self._weights]

    def update(self) -> None:
        """A step of the optimiser has been done."""
        if self._begun:
            torch._foreach_lerp_(self.values, self._weights, 1 - self._keep)
        else:
            torch._foreach_copy_(self.values, self._weights)
        self._begun = True

    def snapshot(self) -> dict[str, Any]:
        """The average, and whether it has begun."""
        return {"values": self.values, "begun": self._begun}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        torch._foreach_copy_(self.values, state["values"])
        self._begun = state["begun"]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The weights are the average; afterwards they are themselves again."""
        own = [weight.clone() for weight in self._weights]
        torch._foreach_copy_(self._weights, self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(self._weights, own)
