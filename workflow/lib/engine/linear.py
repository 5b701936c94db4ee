"""R linear layers side by side."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from methods.contract.by_hand import shared_product
from workflow.lib.engine.stacking import Gradients, Pullback, stacked


class Linear:
    """R linear layers: `weight (R, in, out)`, `bias (R, 1, out)` or None.

    The weight lies transposed, unlike PyTorch's: with small batches the products, and PyTorch's gradients of them, run
    faster on it as a whole.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.weight = stacked([layer.weight.mT for layer in layers])
        self.weights = {"weight": self.weight}
        self.bias = stacked([layer.bias[None] for layer in layers]) if layers[0].bias is not None else None
        if self.bias is not None:
            self.weights["bias"] = self.bias
        self.any_shape = False  # whether it has been called with tokens, (R, B, …, in)
        self._shared: Callable[[Tensor], Tensor] | None = None
        self._turned = False

    @property
    def training(self) -> bool:
        return self._shared is None

    @training.setter
    def training(self, training: bool) -> None:
        self._shared = None if training or self._turned else shared_product(*self.affine())

    def turn(self) -> None:
        """Lay the weight as PyTorch does, `(R, out, in)`: a pair that writes out its gradients is faster with that."""
        self.weight = self.weights["weight"] = stacked(list(self.weight.mT))
        self._turned = True

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            if self._shared is not None:
                return self._shared(x)
            x = x.expand(len(self.weight), *x.shape)
        elif x.dim() > 3:
            self.any_shape = True
            return self(x.flatten(1, -2)).view(*x.shape[:-1], -1)
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)

    def affine(self) -> tuple[Tensor, Tensor]:
        """The layer is `x weight + bias`, of `(R, in, out)` and `(R, 1, out)`."""
        weight = self.weight.detach()
        return weight, weight.new_zeros(len(weight), 1, weight.shape[2]) if self.bias is None else self.bias.detach()

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output for a batch `x (R, B, in)`, and how gradients come back from it."""

        def pull(gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
            for_x = self._back(gradient) if inputs else None
            gradients = {"weight": torch.bmm(x.mT, gradient)}
            return for_x, gradients if self.bias is None else gradients | {"bias": gradient.sum(1, keepdim=True)}

        return self(x), pull

    def _back(self, gradient: Tensor) -> Tensor:
        """The gradient of the input. A sum over many outputs is faster the other way round."""
        if self.weight.shape[1] < self.weight.shape[2]:
            return torch.bmm(self.weight.detach(), gradient.mT).mT
        return torch.bmm(gradient, self.weight.detach().mT)

    def state(self, replica: int) -> dict[str, Tensor]:
        bias = {} if self.bias is None else {"bias": self.bias[replica, 0]}
        weight = self.weight[replica]
        return {"weight": weight if self._turned else weight.mT, **bias}
