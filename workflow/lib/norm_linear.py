"""BatchNorm followed by a linear layer, as one: the pair that most probes end in, and where their time goes.

Training keeps its large intermediates in buffers of its own from step to step, since fresh memory is cold memory.
Scoring folds the BatchNorm into the linear layer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from workflow.lib.batch_norm import BatchNorm, batch_mean
from workflow.lib.stacking import Pullback

if TYPE_CHECKING:
    from workflow.lib.layers import Linear


class _Buffers(NamedTuple):
    """Room for one call forward and backward."""

    centred: Tensor  # (R, B, D)
    normed: Tensor  # (R, B, D): what the linear layer sees
    scratch: Tensor  # (R, B, D)
    gradient: Tensor  # (R, K, D): of the linear layer's weight


class NormLinear:
    """`linear(norm(x))` of R replicas; `fold` before scoring."""

    def __init__(self, norm: BatchNorm, linear: "Linear") -> None:
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
        scale, shift = self.norm.weight.detach(), self.norm.bias.detach()
        weight, bias = self.linear.weight.detach(), self.linear.bias
        room, batch = self._take(x), x.shape[1]
        mean = batch_mean(x)
        torch.sub(x, mean, out=room.centred)
        var = batch_mean(torch.mul(room.centred, room.centred, out=room.scratch))
        inverse = (var + self.norm.eps).rsqrt_()
        self.norm.track(mean, var, batch)
        torch.addcmul(shift, room.centred, scale * inverse, out=room.normed)
        # The transposed product is twice as fast as `normed weight^T` at these shapes.
        logits = torch.bmm(weight, room.normed.mT)
        if bias is not None:
            logits += bias.detach().mT

        def pull(gradient: Tensor, inputs: bool = True) -> tuple[Tensor | None, Mapping[str, Tensor]]:
            for_weight = torch.bmm(gradient.mT, room.normed, out=room.gradient)
            inner = torch.bmm(gradient, weight, out=room.normed)
            mean = batch_mean(inner)
            slope = batch_mean(torch.mul(inner, room.centred, out=room.scratch)).mul_(inverse)
            for_x = None
            if inputs:
                # γ / σ (g − mean(g) − x̂ mean(g x̂))
                for_x = torch.addcmul(inner.sub_(mean), room.centred, slope * inverse, value=-1).mul_(scale * inverse)
            self._spare[batch].append(room)
            gradients = {"norm.weight": slope * batch, "norm.bias": mean * batch, "linear.weight": for_weight}
            return for_x, gradients if bias is None else gradients | {"linear.bias": gradient.sum(1, keepdim=True)}

        return logits.mT, pull

    def _take(self, x: Tensor) -> _Buffers:
        """Buffers that no other call is using."""
        spare = self._spare.setdefault(x.shape[1], [])
        if spare:
            return spare.pop()
        return _Buffers(
            torch.empty_like(x), torch.empty_like(x), torch.empty_like(x), torch.empty_like(self.linear.weight)
        )


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
