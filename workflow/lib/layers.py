"""Layers with a leading replica dimension, made by stacking the ordinary layers of each replica.

A stacked layer maps `(R, B, D)`, or `(M, D)` shared by all replicas, to `(R, B, …)`: replica r sees row r alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vjp, vmap

from methods.trained import shared_product
from workflow.lib.batch_norm import BatchNorm
from workflow.lib.norm_linear import NormLinear
from workflow.lib.stacking import Gradients, Late, Pullback, stacked

ELEMENTWISE = (nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)  # serve all replicas as they are


class Layer(Protocol):
    """R layers. `weights` are the trainable tensors by name, `training` whether BatchNorm uses the batch."""

    weights: dict[str, Tensor]
    training: bool

    def __call__(self, x: Tensor) -> Tensor: ...

    def state(self, replica: int) -> dict[str, Tensor]:
        """What PyTorch's `state_dict` of one replica's layer holds, but for counters."""
        ...


def stack(layers: Sequence[nn.Module]) -> Layer:
    """One stacked layer from the layer of each replica."""
    return _STACKED.get(type(layers[0]), Wrapped)(layers)


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


class Sequential:
    """R chains of layers. A BatchNorm and the linear layer behind it run as one."""

    def __init__(self, layers: Sequence[nn.Sequential]) -> None:
        self._parts = [stack(parts) for parts in zip(*layers, strict=True)]
        self._chain = list(_joined(self._parts))
        self.weights = {f"{i}.{name}": w for i, part in enumerate(self._parts) for name, w in part.weights.items()}

    @property
    def training(self) -> bool:
        return self._parts[0].training

    @training.setter
    def training(self, training: bool) -> None:
        for part in self._parts:
            part.training = training
        for link, _ in self._chain:
            if isinstance(link, NormLinear) and not training:
                link.fold()

    def affine(self) -> tuple[Tensor, Tensor]:
        """Outside training a chain of one link is `x weight + bias`, of `(R, D, K)` and `(R, 1, K)`."""
        ((link, _),) = self._chain
        return link.affine()

    def __call__(self, x: Tensor) -> Tensor:
        for link, _ in self._chain:
            x = link(x)
        return x

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output for a training batch `x (R, B, D)`, and how gradients come back from it."""
        pulls = []
        for link, places in self._chain:
            x, pull = link.vjp(x)
            pulls.append((pull, places))

        def pull_all(gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
            found: dict[str, Tensor | Late] = {}
            wanted: Tensor | None = gradient
            for i, (pull, places) in reversed(list(enumerate(pulls))):
                assert wanted is not None  # only the first link may be told not to give it
                wanted, gradients = pull(wanted, inputs or i > 0, late)
                found |= {places[name]: value for name, value in gradients.items()}
            return wanted, found

        return x, pull_all

    def state(self, replica: int) -> dict[str, Tensor]:
        parts = enumerate(part.state(replica) for part in self._parts)
        return {f"{i}.{name}": tensor for i, state in parts for name, tensor in state.items()}


def _joined(parts: Sequence[Layer]) -> Iterator[tuple[Any, Mapping[str, str]]]:
    """The parts, with a pair in place of each BatchNorm and the linear layer behind it; and how the chain calls
    the weights of each.
    """
    skip = False
    for i, part in enumerate(parts):
        after = parts[i + 1] if i + 1 < len(parts) else None
        if skip or (isinstance(part, Elementwise) and part.idle):
            skip = False
        elif isinstance(part, BatchNorm) and isinstance(after, Linear):
            skip = True
            own = {f"norm.{name}": f"{i}.{name}" for name in part.weights}
            yield NormLinear(part, after), own | {f"linear.{name}": f"{i + 1}.{name}" for name in after.weights}
        else:
            yield part, {name: f"{i}.{name}" for name in part.weights}


class Elementwise:
    """A layer that has no weights and treats every number alike."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layer = layers[0]
        self.idle = isinstance(self._layer, nn.Identity)
        self.weights: dict[str, Tensor] = {}
        self.training = True

    def __call__(self, x: Tensor) -> Tensor:
        return self._layer(x)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output for `x`, and how the gradient comes back from it."""
        if self.idle:
            return x, lambda gradient, inputs=True, late=False: (gradient, {})
        output, derive, *_ = vjp(self._layer, x)
        return output, lambda gradient, inputs=True, late=False: (derive(gradient)[0] if inputs else None, {})

    def state(self, replica: int) -> dict[str, Tensor]:
        return {}


class Wrapped:
    """R copies of any other module, called through `vmap`. It may draw no random numbers: no dropout."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        parameters, buffers = stack_module_state(list(layers))
        trained = {name for name, value in layers[0].named_parameters() if value.requires_grad}
        self._state = {name: value.detach() for name, value in (parameters | buffers).items()}
        self.weights = {name: self._state[name].requires_grad_() for name in self._state if name in trained}
        self._module = layers[0]
        self.training = True

    def __call__(self, x: Tensor) -> Tensor:
        def one(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self._module, dict(state), (x,))

        self._module.train(self.training)
        return vmap(one, (0, 0 if x.dim() == 3 else None))(self._state, x)

    def state(self, replica: int) -> dict[str, Tensor]:
        counters = "num_batches_tracked"
        return {name: tensor[replica] for name, tensor in self._state.items() if not name.endswith(counters)}


_STACKED: dict[type[nn.Module], Callable[[Sequence[Any]], Layer]] = {
    nn.Linear: Linear,
    nn.BatchNorm1d: BatchNorm,
    nn.Sequential: Sequential,
    **dict.fromkeys(ELEMENTWISE, Elementwise),
}
