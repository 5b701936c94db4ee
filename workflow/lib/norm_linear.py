"""BatchNorm followed by a linear layer, as one: the pair that most probes end in, and where their time goes.

Training keeps its large intermediates in buffers of its own from step to step, since fresh memory is cold memory.
Scoring folds the BatchNorm into the linear layer.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from workflow.lib.batch_norm import batch_mean

if TYPE_CHECKING:
    from workflow.lib.layers import BatchNorm, Linear


class _Buffers(NamedTuple):
    """Room for one call forward and backward."""

    centred: Tensor  # (R, B, D)
    normed: Tensor  # (R, B, D): what the linear layer sees
    scratch: Tensor  # (R, B, D)
    gradient: Tensor  # (R, K, D): of the linear layer's weight


class NormLinear:
    """`linear(norm(x))` of R replicas; `fold` before scoring."""

    def __init__(self, norm: "BatchNorm", linear: "Linear") -> None:
        linear.turn()
        self.norm, self.linear = norm, linear
        self._spare: dict[int, list[_Buffers]] = {}
        self._folded: tuple[Tensor, Tensor] | None = None

    def fold(self) -> None:
        """Take the statistics and weights as they are now."""
        scale, shift = self.norm.affine()
        weight = self.linear.weight.detach()
        bias = torch.bmm(shift, weight.mT)
        whole = bias if self.linear.bias is None else bias + self.linear.bias.detach()
        self._folded = (weight * scale).mT.contiguous(), whole

    def __call__(self, x: Tensor) -> Tensor:
        x = x.expand(len(self.linear.weight), *x.shape[-2:])
        if self.norm.training:
            return _Function.apply(x, self.norm.weight, self.norm.bias, self.linear.weight, self.linear.bias, self)
        assert self._folded is not None  # whoever ends the training calls `fold`
        weight, bias = self._folded
        return torch.baddbmm(bias, x, weight)

    def take(self, x: Tensor) -> _Buffers:
        """Buffers that no other call is using."""
        spare = self._spare.setdefault(x.shape[1], [])
        if spare:
            return spare.pop()
        return _Buffers(
            torch.empty_like(x), torch.empty_like(x), torch.empty_like(x), torch.empty_like(self.linear.weight)
        )

    def give(self, buffers: _Buffers) -> None:
        """The call that took them is over."""
        self._spare[buffers.centred.shape[1]].append(buffers)


class _Function(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor | None, layer: NormLinear
    ) -> Tensor:
        room = layer.take(x)
        mean = batch_mean(x)
        torch.sub(x, mean, out=room.centred)
        var = batch_mean(torch.mul(room.centred, room.centred, out=room.scratch))
        inverse = (var + layer.norm.eps).rsqrt_()
        layer.norm.track(mean, var, x.shape[1])
        torch.addcmul(shift, room.centred, scale * inverse, out=room.normed)
        ctx.layer, ctx.room = layer, room
        ctx.save_for_backward(inverse, scale, weight)
        # The transposed product is twice as fast as `normed weight^T` at these shapes.
        logits = torch.bmm(weight, room.normed.mT)
        return logits.mT if bias is None else logits.add_(bias.mT).mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inverse, scale, weight = ctx.saved_tensors
        gradient, room, batch = gradients[0], ctx.room, gradients[0].shape[1]
        for_weight = torch.bmm(gradient.mT, room.normed, out=room.gradient)
        inner = torch.bmm(gradient, weight, out=room.normed)
        mean = batch_mean(inner)
        slope = batch_mean(torch.mul(inner, room.centred, out=room.scratch)).mul_(inverse)
        for_x = None
        if ctx.needs_input_grad[0]:
            # γ / σ (g − mean(g) − x̂ mean(g x̂))
            for_x = torch.addcmul(inner.sub_(mean), room.centred, slope * inverse, value=-1).mul_(scale * inverse)
        ctx.layer.give(room)
        for_bias = gradient.sum(1, keepdim=True) if ctx.needs_input_grad[4] else None
        return for_x, slope * batch, mean * batch, for_weight, for_bias, None
