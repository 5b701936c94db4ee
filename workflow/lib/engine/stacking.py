"""What all stacked layers share: how they are stacked, and what their gradients by hand look like."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor


class Late(Protocol):
    """A gradient that is cheaper to use than to make. Those of the weights beside it are there when that is done."""

    def made(self) -> Tensor:
        """The gradient itself."""
        ...

    def adam(self, rows: slice, state: Sequence[Any], constants: Sequence[float]) -> None:
        """A step of `kernels.adam` for some replicas: its arrays but for the gradient, and its numbers."""
        ...


Gradients = Mapping[str, Tensor | Late]


class Pullback(Protocol):
    """How gradients come back through a layer or a head, written out: what `torch.func.vjp` would give."""

    def __call__(self, gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
        """From the output's gradient: the input's, if it is wanted, and those of the weights by name.

        Who hands the weights' to the optimiser as they are may have them `late`: some not made, and the others where
        the next pass through the layer writes over them.
        """
        ...


def made(gradients: Iterable[Tensor | Late]) -> list[Tensor]:
    """The gradients themselves."""
    return [gradient if isinstance(gradient, Tensor) else gradient.made() for gradient in gradients]


def stacked(values: Sequence[Tensor]) -> Tensor:
    """A leaf `(R, …)` from the parameter of each replica; trainable if they are."""
    trainable = values[0].requires_grad
    return torch.stack([value.detach() for value in values]).requires_grad_(trainable)
