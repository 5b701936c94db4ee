"""BatchNorm of R replicas side by side, with its gradients written out.

PyTorch's kernel takes `(B, C)` alone: used on `(B, R D)` it is bound by the transposes around it. Here the sums over
the batch are products with a row of ones, which run as fast as memory gives the numbers.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from workflow.lib.stacking import Pullback, stacked


class BatchNorm:
    """R BatchNorm1d layers over `(R, B, D)`, each with statistics of its own: all tensors are `(R, 1, D)`."""

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        first = layers[0]
        if first.momentum is None or not first.track_running_stats or not first.affine:
            raise ValueError("a BatchNorm1d in a head needs its weight, its running statistics and a momentum")
        self.weight = stacked([layer.weight[None] for layer in layers])
        self.bias = stacked([layer.bias[None] for layer in layers])
        self.weights = {"weight": self.weight, "bias": self.bias}
        self.mean = torch.stack([_buffer(layer.running_mean)[None] for layer in layers])
        self.var = torch.stack([_buffer(layer.running_var)[None] for layer in layers])
        self.momentum, self.eps = first.momentum, first.eps
        self.training = True
        self._constant: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if not self.training:
            factor, shift = self.affine()
            return torch.addcmul(shift, x, factor)
        x = x if x.dim() == 3 else x[None]
        centred, inverse = self._standardise(x.detach())
        if x.requires_grad:
            return scale(x, centred, inverse, self.weight, self.bias)
        return torch.addcmul(self.bias, centred, self.weight * inverse)

    def _standardise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A batch without its mean, and 1 / σ; the running statistics move towards its own."""
        centred, inverse, mean, var = standardise(x, self.eps)
        self.track(mean, var, x.shape[1])
        return centred, inverse

    def standardised(self, constant: Tensor) -> Tensor:
        """`x̂ (K, D)` of what is the batch of every replica at every step: computed once for the whole training.

        The running statistics move as ever; outside training they are what x̂ is made with.
        """
        if not self.training:
            return (constant - self.mean[0]) * (self.var[0] + self.eps).rsqrt()
        if self._constant is None or self._constant[0] is not constant:
            centred, inverse, mean, var = standardise(constant[None], self.eps)
            self._constant = constant, (centred * inverse)[0], mean, var
        _, result, mean, var = self._constant
        self.track(mean, var, len(constant))
        return result

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output for a training batch `x (R, B, D)`, and how gradients come back from it."""
        centred, inverse = self._standardise(x)
        factor = self.weight * inverse

        def pull(gradient: Tensor, inputs: bool = True) -> tuple[Tensor | None, Mapping[str, Tensor]]:
            for_x, slope, mean = scale_back(gradient, centred, inverse, factor if inputs else None)
            return for_x, {"weight": slope.mul_(x.shape[1]), "bias": mean.mul_(x.shape[1])}

        return torch.addcmul(self.bias, centred, factor), pull

    def affine(self) -> tuple[Tensor, Tensor]:
        """Outside training the layer is `factor x + shift`, both `(R, 1, D)`."""
        factor = self.weight.detach() * (self.var + self.eps).rsqrt()
        return factor, self.bias.detach() - self.mean * factor

    def track(self, mean: Tensor, var: Tensor, batch: int) -> None:
        """Move the running statistics towards those of a batch, whose variance is the biased one."""
        self.mean.lerp_(mean, self.momentum)
        self.var.mul_(1 - self.momentum).add_(var, alpha=self.momentum * batch / (batch - 1))

    def state(self, replica: int) -> dict[str, Tensor]:
        tensors = {"weight": self.weight, "bias": self.bias, "running_mean": self.mean, "running_var": self.var}
        return {name: tensor[replica, 0] for name, tensor in tensors.items()}


def _buffer(value: Tensor | None) -> Tensor:
    assert value is not None  # track_running_stats was looked at
    return value


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


def scale_back(
    gradient: Tensor, centred: Tensor, inverse: Tensor, factor: Tensor | None
) -> tuple[Tensor | None, Tensor, Tensor]:
    """From the gradient g of `γ x̂ + β`: that of x (with `factor = γ / σ`, else None), and means of `g x̂` and of g."""
    mean = batch_mean(gradient)
    slope = batch_mean(gradient * centred) * inverse
    if factor is None:
        return None, slope, mean
    # γ / σ (g − mean(g) − x̂ mean(g x̂))
    for_x = torch.addcmul(gradient - mean, centred, slope * inverse, value=-1).mul_(factor)
    return for_x, slope, mean


class _Scale(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, centred: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        factor = weight * inverse
        ctx.save_for_backward(centred, inverse, factor)
        return torch.addcmul(bias, centred, factor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, Tensor, Tensor]:
        centred, inverse, factor = ctx.saved_tensors
        gradient, batch = gradients[0], gradients[0].shape[1]
        for_x, slope, mean = scale_back(gradient, centred, inverse, factor)
        assert for_x is not None  # a factor was given
        if len(centred) < len(gradient):
            for_x = for_x.sum(0, keepdim=True)
        return for_x, None, None, slope * batch, mean * batch


def scale(x: Tensor, centred: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`weight x̂ + bias` with `x̂ = centred · inverse`, as `standardise` gives them, and with a gradient for x as well.

    x is `(R, B, D)`, or `(1, B, D)` shared by all replicas; `weight` and `bias` are `(R, 1, D)`.
    """
    result: Tensor = _Scale.apply(x, centred, inverse, weight, bias)
    return result
