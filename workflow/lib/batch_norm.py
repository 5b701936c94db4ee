"""BatchNorm of R replicas side by side, with its gradients written out.

PyTorch's kernel takes `(B, C)` alone: used on `(B, R D)` it is bound by the transposes around it. Here the sums over
the batch are products with a row of ones, which run as fast as memory gives the numbers.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def standardise(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of `x (R, B, D)`: `x − mean (R, B, D)`, and `(R, 1, D)` each 1 / √(var + eps), mean and biased variance."""
    mean = batch_mean(x)
    centred = x - mean
    var = batch_mean(centred * centred)
    return centred, (var + eps).rsqrt_(), mean, var


def batch_mean(x: Tensor) -> Tensor:
    """Means `(R, 1, D)` over the batch of `x (R, B, D)`."""
    return torch.bmm(_shares(len(x), x.shape[1], x.dtype, x.device), x)


@cache
def _shares(replicas: int, batch: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1 / B, as `(R, 1, B)`."""
    return torch.full((replicas, 1, batch), 1 / batch, dtype=dtype, device=device)


class _Scale(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, centred: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        scale = weight * inverse
        ctx.save_for_backward(centred, inverse, scale)
        return torch.addcmul(bias, centred, scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, Tensor, Tensor]:
        centred, inverse, scale = ctx.saved_tensors
        gradient, batch = gradients[0], gradients[0].shape[1]
        mean = batch_mean(gradient)
        slope = batch_mean(gradient * centred) * inverse
        # scale (g − mean(g) − x̂ mean(g x̂))
        for_x = torch.addcmul(gradient - mean, centred, slope * inverse, value=-1).mul_(scale)
        if len(centred) < len(gradient):
            for_x = for_x.sum(0, keepdim=True)
        return for_x, None, None, slope * batch, mean * batch


def scale(x: Tensor, centred: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`weight x̂ + bias` with `x̂ = centred · inverse`, as `standardise` gives them, and with a gradient for x as well.

    x is `(R, B, D)`, or `(1, B, D)` shared by all replicas; `weight` and `bias` are `(R, 1, D)`.
    """
    result: Tensor = _Scale.apply(x, centred, inverse, weight, bias)
    return result
