"""Layers with a leading replica dimension, made by stacking the ordinary layers of each replica.

A stacked layer maps `(R, B, D)`, or `(M, D)` shared by all replicas, to `(R, B, …)`: replica r sees row r alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from workflow.lib.batch_norm import scale, standardise
from workflow.lib.norm_linear import NormLinear

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
        self.training = True
        self._turned = False

    def turn(self) -> None:
        """Lay the weight as PyTorch does, `(R, out, in)`: a pair that writes out its gradients is faster with that."""
        self.weight = self.weights["weight"] = stacked(list(self.weight.mT))
        self._turned = True

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x.expand(len(self.weight), *x.shape)
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)

    def state(self, replica: int) -> dict[str, Tensor]:
        bias = {} if self.bias is None else {"bias": self.bias[replica, 0]}
        weight = self.weight[replica]
        return {"weight": weight if self._turned else weight.mT, **bias}


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

    def __call__(self, x: Tensor) -> Tensor:
        if self.training:
            return self._normalise(x if x.dim() == 3 else x[None])
        factor, shift = self.affine()
        return torch.addcmul(shift, x, factor)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Outside training the layer is `factor x + shift`, both `(R, 1, D)`."""
        factor = self.weight.detach() * (self.var + self.eps).rsqrt()
        return factor, self.bias.detach() - self.mean * factor

    def track(self, mean: Tensor, var: Tensor, batch: int) -> None:
        """Move the running statistics towards those of a batch, whose variance is the biased one."""
        self.mean.lerp_(mean, self.momentum)
        self.var.mul_(1 - self.momentum).add_(var, alpha=self.momentum * batch / (batch - 1))

    def _normalise(self, x: Tensor) -> Tensor:
        centred, inverse, mean, var = standardise(x.detach(), self.eps)
        self.track(mean, var, x.shape[1])
        if x.requires_grad:
            return scale(x, centred, inverse, self.weight, self.bias)
        return torch.addcmul(self.bias, centred, self.weight * inverse)

    def state(self, replica: int) -> dict[str, Tensor]:
        tensors = {"weight": self.weight, "bias": self.bias, "running_mean": self.mean, "running_var": self.var}
        return {name: tensor[replica, 0] for name, tensor in tensors.items()}


class Sequential:
    """R chains of layers. A BatchNorm and the linear layer behind it run as one."""

    def __init__(self, layers: Sequence[nn.Sequential]) -> None:
        self._parts = [stack(parts) for parts in zip(*layers, strict=True)]
        self._chain = _joined(self._parts)
        self.weights = {f"{i}.{name}": w for i, part in enumerate(self._parts) for name, w in part.weights.items()}

    @property
    def training(self) -> bool:
        return self._parts[0].training

    @training.setter
    def training(self, training: bool) -> None:
        for part in self._parts:
            part.training = training
        for link in self._chain:
            if isinstance(link, NormLinear) and not training:
                link.fold()

    def __call__(self, x: Tensor) -> Tensor:
        for link in self._chain:
            x = link(x)
        return x

    def state(self, replica: int) -> dict[str, Tensor]:
        parts = enumerate(part.state(replica) for part in self._parts)
        return {f"{i}.{name}": tensor for i, state in parts for name, tensor in state.items()}


def _joined(parts: Sequence[Layer]) -> list[Callable[[Tensor], Tensor]]:
    """The parts, with a pair in place of each BatchNorm and the linear layer behind it."""
    chain: list[Callable[[Tensor], Tensor]] = []
    for part in parts:
        if isinstance(part, Linear) and chain and isinstance(chain[-1], BatchNorm):
            chain[-1] = NormLinear(chain[-1], part)
        elif not isinstance(part, Elementwise) or not part.idle:
            chain.append(part)
    return chain


class Elementwise:
    """A layer that has no weights and treats every number alike."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layer = layers[0]
        self.idle = isinstance(self._layer, nn.Identity)
        self.weights: dict[str, Tensor] = {}
        self.training = True

    def __call__(self, x: Tensor) -> Tensor:
        return self._layer(x)

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


def stacked(values: Sequence[Tensor]) -> Tensor:
    """A leaf `(R, …)` from the parameter of each replica; trainable if they are."""
    trainable = values[0].requires_grad
    return torch.stack([value.detach() for value in values]).requires_grad_(trainable)


def _buffer(value: Tensor | None) -> Tensor:
    assert value is not None  # track_running_stats was looked at
    return value
