"""What all stacked layers share: how they are stacked, and what their gradients by hand look like."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Pullback(Protocol):
    """How gradients come back through a layer or a head, written out: what `torch.func.vjp` would give."""

    def __call__(self, gradient: Tensor, inputs: bool = True) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """From the output's gradient: the input's, if it is wanted, and those of the weights by name."""
        ...


def stacked(values: Sequence[Tensor]) -> Tensor:
    """A leaf `(R, …)` from the parameter of each replica; trainable if they are."""
    trainable = values[0].requires_grad
    return torch.stack([value.detach() for value in values]).requires_grad_(trainable)
