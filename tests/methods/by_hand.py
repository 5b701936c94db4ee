"""The trained methods by another route than the engine: one replica, `torch.optim`, autograd, a loop over steps."""

from collections.abc import Callable, Sequence
from math import cos, pi

import torch
from torch import Tensor
from torch.nn import functional

from methods import Replica


def begin(seed: int) -> None:
    """Layers that are made from here on start as those of a replica with this seed do, which PyTorch draws."""
    torch.manual_seed(int(Replica("-", {}, seed).rng("init").integers(2**63)))


def cosine(lr: float, steps: int) -> list[float]:
    """The rates of so many steps of half a cosine."""
    return [lr * (1 + cos(pi * step / steps)) / 2 for step in range(steps)]


def by_epoch(lr: float, epochs: int, first: float) -> list[float]:
    """The rates of so many epochs: the first's own, then half a cosine that would end one epoch after the last."""
    return [first, *cosine(lr, epochs)[: epochs - 1]]


def descend(
    optimizer: torch.optim.Optimizer,
    rates: Sequence[float],
    logits: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    penalty: Callable[[], Tensor] = lambda: torch.tensor(0.0),
) -> None:
    """A step for each rate, each on all samples."""
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (functional.cross_entropy(logits(x), y) + penalty()).backward()
        optimizer.step()
