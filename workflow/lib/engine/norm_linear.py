"""BatchNorm followed by a linear layer, as one: the pair that most probes end in, and where their time goes.

Training keeps its large intermediates in buffers of its own from step to step, since fresh memory is cold memory.
Scoring folds the BatchNorm into the linear layer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from methods.contract.by_hand import shared_product
from workflow.lib.engine import kernels
from workflow.lib.engine.batch_norm import BatchNorm, Room, Rooms, refuse_tokens
from workflow.lib.engine.linear import Linear
from workflow.lib.engine.stacking import Gradients, Pullback


class NormLinear:
    """`linear(norm(x))` of R replicas; `fold` before scoring."""

    def __init__(self, norm: BatchNorm, linear: Linear) -> None:
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
        self._folded = (weight * scale).mT, whole
        self._shared = shared_product(*self._folded)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Outside training the pair is `x weight + bias`, of `(R, D, K)` and `(R, 1, K)`."""
        assert self._folded is not None  # `fold` is called when training ends
        return self._folded

    def __call__(self, x: Tensor) -> Tensor:
        if self.norm.training:
            refuse_tokens(x)
            x = x.expand(len(self.linear.weight), *x.shape[-2:])
            return _Function.apply(x, self.norm.weight, self.norm.bias, self.linear.weight, self.linear.bias, self)
        weight, bias = self.affine()
        return torch.baddbmm(bias, x, weight) if x.dim() == 3 else self._shared(x)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """Logits of a training batch `x (R, B, D)`, and how gradients come back from them. To be pulled once."""
        batch = x.shape[1]
        room = self._rooms.take(batch)
        logits = room.logits(x)

        def pull(gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
            self._rooms.give(batch, room)
            return room.back(gradient) if inputs else (None, room.weights_alone(gradient, late))

        return logits, pull


class _Room:
    """What the pair makes of a batch: the BatchNorm's part, and the gradient of the linear layer's weight."""

    def __init__(self, norm: BatchNorm, linear: Linear, batch: int) -> None:
        self._norm = Room(norm, batch)
        self._linear, self._weight, self._bias = linear.weight.detach(), norm.weight.detach(), norm.bias.detach()
        self._offset = linear.bias.detach().mT if linear.bias is not None else self._linear.new_zeros(1, 1, 1)
        self._for_weight = torch.empty_like(self._linear)
        self._turned, self._trained = self._norm.normed.mT, linear.weight.requires_grad
        self._sums = self._linear.new_empty(len(self._linear), 1, self._linear.shape[1])
        around = {f"norm.{name}": gradient for name, gradient in self._norm.gradients.items()}
        around |= {} if linear.bias is None else {"linear.bias": self._sums}
        self._gradients: Gradients = around | {"linear.weight": self._for_weight}
        self._unmade: Gradients = around | {"linear.weight": self}
        if self._norm.compiled:
            results = *self._norm.sums, *kernels.arrays(self._sums)
            self._arrays = *kernels.arrays(self._for_weight), *self._norm.constants, *results

    def logits(self, x: Tensor) -> Tensor:
        """`(R, B, K)`, transposed in memory: that product is twice as fast as `normed weight^T` at these shapes."""
        self._norm.forward(x)
        return torch.baddbmm(self._offset, self._linear, self._turned).mT

    def back(self, gradient: Tensor) -> tuple[Tensor, Gradients]:
        """The gradients of x and of the weights."""
        torch.sum(gradient, 1, keepdim=True, out=self._sums)
        torch.bmm(gradient.mT, self._norm.normed, out=self._for_weight)
        for_x = torch.bmm(gradient, self._linear, out=self._norm.normed)
        self._norm.back(for_x, for_x)
        return for_x, self._gradients

    def weights_alone(self, gradient: Tensor, late: bool) -> Gradients:
        """Without that of x the weights' need no product with `W`: they come from `P = g^T x̂ (R, K, D)`.

        With the logits `W (γ x̂ + β)` that of W is `γ P + Σ g β^T`, that of γ is `Σ W P` over the classes, and that
        of β is `W^T Σ g`.
        """
        self._gradient = gradient.mT.contiguous()
        torch.bmm(self._gradient, self._norm.standard, out=self._for_weight)
        if late and self._trained:
            return self._unmade
        self.made()
        return self._gradients

    def made(self) -> Tensor:
        """The gradient of the linear layer's weight, and those around it in their places."""
        product = self._for_weight
        torch.sum(self._gradient.mT, 1, keepdim=True, out=self._sums)
        torch.sum(self._linear * product, 1, keepdim=True, out=self._norm.slope)
        torch.bmm(self._sums, self._linear, out=self._norm.total)
        return product.mul_(self._weight).baddbmm_(self._sums.mT, self._bias)

    def adam(self, rows: slice, state: Sequence[Any], constants: Sequence[float]) -> None:
        """All that, and the step with the gradient of the weight, in one walk."""
        arrays = *kernels.arrays(self._gradient), *self._arrays
        kernels.adam_behind_norm(*(array[rows] for array in arrays), *state, *constants)


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
