"""Mixup: each batch mixed with itself in another order (arXiv:1710.09412)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from methods.contract.base import Replica
from workflow.lib.engine.noise import places, put


class Mixed(NamedTuple):
    """Labels `(R, B)` of both images in a mixture, and the share of the first, `(R, 1)`."""

    first: Tensor
    second: Tensor
    share: Tensor

    def weighted(self) -> list[tuple[Tensor, Tensor]]:
        """Both, each with its share."""
        return [(self.share, self.first), (1 - self.share, self.second)]


class Mixup:
    """Mixes `λ x_i + (1 − λ) x_j` within a batch, λ from Beta(alpha, alpha), one for each step and replica."""

    def __init__(self, alpha: float, replicas: Sequence[Replica]) -> None:
        self._alpha, self._rngs = alpha, [replica.rng("mixup") for replica in replicas]

    def snapshot(self) -> list[str]:
        """Where its random numbers are."""
        return places(self._rngs)

    def restore(self, state: Sequence[str]) -> None:
        """Go on from there."""
        put(self._rngs, state)

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, Mixed]:
        """A batch `x (R, B, D)` and `y (R, B)`, mixed."""
        shares = [rng.beta(self._alpha, self._alpha) for rng in self._rngs]
        share = torch.tensor(shares, dtype=x.dtype, device=x.device)[:, None]
        order = torch.from_numpy(np.stack([rng.permutation(y.shape[1]) for rng in self._rngs])).to(x.device)
        other = x.gather(1, order[..., None].expand_as(x))
        return other.lerp(x, share[..., None]), Mixed(y, y.gather(1, order), share)
