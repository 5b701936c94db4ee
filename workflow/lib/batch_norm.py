"""BatchNorm of R replicas side by side, with its gradients written out.

PyTorch's kernel takes `(B, C)` alone: used on `(B, R D)` it is bound by the transposes around it. Here the sums over
the batch are products with a row of ones, which run as fast as memory gives the numbers.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


class BatchNormFunction(Function):
    """`weight (x − mean) / √(var + eps) + bias` over `x (R, B, D)`, or `(1, B, D)` shared by all replicas.

    `weight` and `bias` are `(R, 1, D)`. Gives the result `(R, B, D)` and the batch's mean and biased variance.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = _sum(x) / x.shape[1]
        centred = x - mean
        var = _sum(centred * centred) / x.shape[1]
        inverse = (var + eps).rsqrt()
        scale = weight * inverse
        ctx.save_for_backward(centred, inverse, scale)
        ctx.mark_non_differentiable(mean, var)
        ctx.set_materialize_grads(False)
        return torch.addcmul(bias, centred, scale), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        centred, inverse, scale = ctx.saved_tensors
        gradient = gradients[0]
        for_bias = _sum(gradient)
        for_weight = _sum(gradient * centred) * inverse
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = _for_x(gradient, centred, inverse, scale, for_weight, for_bias)
        return for_x, for_weight, for_bias, None


def _for_x(
    gradient: Tensor, centred: Tensor, inverse: Tensor, scale: Tensor, for_weight: Tensor, for_bias: Tensor
) -> Tensor:
    """`scale (g − mean(g) − x̂ mean(g x̂))` with `x̂ = centred · inverse`."""
    batch = gradient.shape[1]
    within = torch.addcmul(gradient - for_bias / batch, centred, for_weight * inverse, value=-1 / batch) * scale
    return within if len(centred) == len(gradient) else within.sum(0, keepdim=True)


def _sum(x: Tensor) -> Tensor:
    """Sums `(R, 1, D)` over the batch of `x (R, B, D)`."""
    return torch.bmm(x.new_ones(1, 1, x.shape[1]).expand(len(x), -1, -1), x)
