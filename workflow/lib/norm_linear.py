"""BatchNorm followed by a linear layer, as one: the pair that most probes end in, and where their time goes.

Training keeps its large intermediates in buffers of its own from step to step, since fresh memory is cold memory.
Scoring folds the BatchNorm into the linear layer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from workflow.lib import kernels
from workflow.lib.batch_norm import BatchNorm, Room, Rooms
from workflow.lib.stacking import Pullback

if TYPE_CHECKING:
    from workflow.lib.layers import Linear


class NormLinear:
    """`linear(norm(x))` of R replicas; `fold` before scoring."""

    def __init__(self, norm: BatchNorm, linear: "Linear") -> None:
        linear.turn()
        self.norm, self.linear = norm, linear
        self._rooms = Rooms(lambda batch: _Room(norm, linear, batch))
        self._folded: tuple[Tensor, Tensor] | None = None

    def fold(self) -> None:
        """Take the statistics and weights as they are now."""
        scale, shift = self.norm.affine()
        weight = self.linear.weight.detach()
        bias = torch.bmm(shift, weight.mT)
        whole = bias if self.linear.bias is None else bias + self.linear.bias.detach()
        self._folded = (weight * scale).mT.contiguous(), whole

    def affine(self) -> tuple[Tensor, Tensor]:
        """Outside training the pair is `x weight + bias`, of `(R, D, K)` and `(R, 1, K)`."""
        assert self._folded is not None  # whoever ends the training calls `fold`
        return self._folded

    def __call__(self, x: Tensor) -> Tensor:
        x = x.expand(len(self.linear.weight), *x.shape[-2:])
        if self.norm.training:
            return _Function.apply(x, self.norm.weight, self.norm.bias, self.linear.weight, self.linear.bias, self)
        weight, bias = self.affine()
        return torch.baddbmm(bias, x, weight)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Logits of a training batch `x (R, B, D)`, and how gradients come back from them. To be pulled once."""
        batch = x.shape[1]
        room = self._rooms.take(batch)
        logits = room.logits(x)

        def pull(gradient: Tensor, inputs: bool = True) -> tuple[Tensor | None, Mapping[str, Tensor]]:
            for_x = room.back(gradient) if inputs else None
            if not inputs:
                room.unfold(gradient)
            self._rooms.give(batch, room)
            return for_x, room.gradients

        return logits, pull


class _Room:
    """What the pair makes of a batch: the BatchNorm's part, and the gradient of the linear layer's weight."""

    def __init__(self, norm: BatchNorm, linear: "Linear", batch: int) -> None:
        self._norm = Room(norm, batch)
        self._linear, self._weight, self._bias = linear.weight.detach(), norm.weight.detach(), norm.bias.detach()
        self._offset = linear.bias.detach().mT if linear.bias is not None else self._linear.new_zeros(1, 1, 1)
        self._for_weight = torch.empty_like(self._linear)
        self._turned = self._norm.normed.mT
        self._sums = self._linear.new_empty(len(self._linear), 1, self._linear.shape[1])
        self.gradients = {f"norm.{name}": gradient for name, gradient in self._norm.gradients.items()}
        self.gradients["linear.weight"] = self._for_weight
        if linear.bias is not None:
            self.gradients["linear.bias"] = self._sums
        if self._norm.compiled:
            sums = *self._norm.sums, *kernels.arrays(self._sums)
            self._arrays = *kernels.arrays(self._for_weight, self._linear), *self._norm.constants, *sums

    def logits(self, x: Tensor) -> Tensor:
        """`(R, B, K)`, transposed in memory: that product is twice as fast as `normed weight^T` at these shapes."""
        self._norm.forward(x)
        return torch.baddbmm(self._offset, self._linear, self._turned).mT

    def back(self, gradient: Tensor) -> Tensor:
        """The gradient of x; those of the weights are then where `gradients` says."""
        torch.sum(gradient, 1, keepdim=True, out=self._sums)
        torch.bmm(gradient.mT, self._norm.normed, out=self._for_weight)
        for_x = torch.bmm(gradient, self._linear, out=self._norm.normed)
        self._norm.back(for_x, for_x)
        return for_x

    def unfold(self, gradient: Tensor) -> None:
        """Those of the weights alone, which come from `P = g^T x̂ (R, K, D)` and `Σ g (R, 1, K)`.

        With the logits `W (γ x̂ + β)` that of γ is `Σ W P` over the classes, that of β is `W^T Σ g`, and that of W,
        which takes P's place, is `γ P + Σ g β^T`.
        """
        turned = gradient.mT
        product = torch.bmm(turned, self._norm.standard, out=self._for_weight)
        if self._norm.compiled:
            kernels.unfold(*kernels.arrays(turned.contiguous()), *self._arrays)
        else:
            torch.sum(gradient, 1, keepdim=True, out=self._sums)
            torch.sum(self._linear * product, 1, keepdim=True, out=self._norm.slope)
            torch.bmm(self._sums, self._linear, out=self._norm.total)
            product.mul_(self._weight).baddbmm_(self._sums.mT, self._bias)


class _Function(Function):
    """The pair for autograd, whose graph may go on before and behind it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *rest: Any) -> Tensor:
        layer: NormLinear = rest[-1]
        logits, ctx.pull = layer.vjp(x)
        return logits

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        for_x, found = ctx.pull(gradients[0], ctx.needs_input_grad[0])
        names = ("norm.weight", "norm.bias", "linear.weight", "linear.bias")
        return for_x, *(found.get(name) for name in names), None
