"""BatchNorm of R replicas side by side, with its gradients written out.

PyTorch's kernel takes `(B, C)` alone: used on `(B, R D)` it is bound by the transposes around it. On a CPU a compiled
kernel does it all; elsewhere the sums over the batch are products with a row of ones, which run as fast as memory
gives the numbers.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Function

from workflow.lib.engine import kernels
from workflow.lib.engine.stacking import Gradients, Pullback, stacked

T = TypeVar("T")


class BatchNorm:
    """R BatchNorm1d layers over `(R, B, D)`, each with statistics of its own: all tensors are `(R, 1, D)`."""

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        first = layers[0]
        if self.lacks(first) or first.momentum is None:
            raise ValueError("a BatchNorm1d of this kind needs its weight, its running statistics and a momentum")
        self.weight = stacked([layer.weight[None] for layer in layers])
        self.bias = stacked([layer.bias[None] for layer in layers])
        self.weights = {"weight": self.weight, "bias": self.bias}
        self.mean = torch.stack([_buffer(layer.running_mean)[None] for layer in layers])
        self.var = torch.stack([_buffer(layer.running_var)[None] for layer in layers])
        self.momentum, self.eps = first.momentum, first.eps
        self.training = True
        self.buffers = self.mean, self.var
        self._constant: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._rooms = Rooms(lambda batch: Room(self, batch))

    @staticmethod
    def lacks(layer: nn.BatchNorm1d) -> bool:
        """Whether a layer is without what this one works with."""
        return layer.momentum is None or not layer.track_running_stats or not layer.affine

    def __call__(self, x: Tensor) -> Tensor:
        if not self.training:
            factor, shift = self.affine()
            return torch.addcmul(shift, x, factor)
        refuse_tokens(x)
        return _Function.apply(x.expand(len(self.weight), *x.shape[-2:]), self.weight, self.bias, self)

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
        """The output for a training batch `x (R, B, D)`, and how gradients come back from it. To be pulled once."""
        room = self._rooms.take(x.shape[1])
        room.forward(x if len(x) == len(self.weight) else x.expand(len(self.weight), *x.shape[1:]))

        def pull(gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
            for_x = torch.empty_like(room.normed) if inputs else None
            self._rooms.give(x.shape[1], room)
            found = room.back(gradient, for_x)
            return for_x, found if late else {name: tensor.clone() for name, tensor in found.items()}

        return room.normed, pull

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


def refuse_tokens(x: Tensor) -> None:
    """Raise ValueError for anything but `(R, B, D)` and `(M, D)`."""
    if x.dim() > 3:
        raise ValueError(f"a BatchNorm1d in a head takes (R, B, D), found {tuple(x.shape)}: flatten all but the ends")


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
    return torch.bmm(_row(1 / x.shape[1], len(x), x.shape[1], x.dtype, x.device), x)


def batch_sum(x: Tensor, out: Tensor) -> None:
    """Sums `(R, 1, D)` over the batch of `x (R, B, D)`."""
    torch.bmm(_row(1.0, len(x), x.shape[1], x.dtype, x.device), x, out=out)


@cache
def _row(value: float, replicas: int, batch: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number B times, as `(R, 1, B)`."""
    return torch.full((replicas, 1, batch), value, dtype=dtype, device=device)


class Rooms(Generic[T]):
    """Memory for batches on their way through a layer and back. Kept from step to step: fresh memory is cold."""

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make
        self._spare: dict[int, list[T]] = {}

    def take(self, batch: int) -> T:
        """Room for a batch of this size that no other call is using."""
        spare = self._spare.get(batch)
        return spare.pop() if spare else self._make(batch)

    def give(self, batch: int, room: T) -> None:
        """Whoever has taken a room is done with it."""
        self._spare.setdefault(batch, []).append(room)


class Room:
    """What a BatchNorm makes of a batch, and of the gradient that comes back."""

    def __init__(self, layer: BatchNorm, batch: int) -> None:
        if batch == 1:
            raise ValueError("BatchNorm can't learn from batches of one image; take a larger batch_size or more shots")
        self._layer, self._batch = layer, batch
        replicas, _, dim = layer.weight.shape
        self.normed, self.standard = (layer.mean.new_empty(replicas, batch, dim) for _ in range(2))  # γ x̂ + β, and x̂
        self.inverse, self.slope, self.total = (torch.empty_like(layer.mean) for _ in range(3))  # 1 / σ, Σ g x̂, Σ g
        self.compiled = kernels.fit(layer.mean)
        self.gradients = {"weight": self.slope, "bias": self.total}  # once `back` has been called
        if self.compiled:
            self.constants = kernels.arrays(layer.weight.detach(), layer.bias.detach())
            self.sums = kernels.arrays(self.slope, self.total)
            self._running = *kernels.arrays(layer.mean, layer.var), layer.momentum, layer.eps
            self._results = kernels.arrays(self.normed, self.standard, self.inverse)
            self._none = kernels.arrays(layer.mean.new_empty(0, 0, 0))
            self._array = kernels.Latest()

    def forward(self, x: Tensor) -> None:
        """Normalise a training batch `x (R, B, D)`; the running statistics move towards its own."""
        layer = self._layer
        if self.compiled:
            kernels.normalise(self._array(x), *self.constants, *self._running, *self._results)
            return
        centred, inverse, mean, var = standardise(x, layer.eps)
        layer.track(mean, var, self._batch)
        self.inverse.copy_(inverse)
        torch.mul(centred, inverse, out=self.standard)
        torch.addcmul(layer.bias.detach(), self.standard, layer.weight.detach(), out=self.normed)

    def back(self, gradient: Tensor, for_x: Tensor | None) -> dict[str, Tensor]:
        """The weights' gradients from that of the output; that of the input goes into `for_x` where there is one."""
        if self.compiled:
            given = kernels.arrays(gradient.contiguous())
            wanted = self._none if for_x is None else kernels.arrays(for_x)
            kernels.normalise_back(*given, *self._results[1:], self.constants[0], *self.sums, *wanted)
        else:
            batch_sum(gradient, self.total)
            batch_sum(gradient * self.standard, self.slope)
            if for_x is not None:
                # γ / σ (g − mean(g) − x̂ mean(g x̂))
                own = torch.addcmul(self.total, self.standard, self.slope).mul_(-1 / self._batch).add_(gradient)
                torch.mul(own, self._layer.weight.detach() * self.inverse, out=for_x)
        return self.gradients


class _Function(Function):
    """For autograd, whose graph may go on before and behind the layer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: BatchNorm) -> Tensor:
        ctx.room = Room(layer, x.shape[1])
        ctx.room.forward(x)
        return ctx.room.normed.detach()  # the room is not to hold what holds the room

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        for_x = torch.empty_like(ctx.room.standard) if ctx.needs_input_grad[0] else None
        found = ctx.room.back(gradients[0], for_x)
        return for_x, found["weight"], found["bias"], None
