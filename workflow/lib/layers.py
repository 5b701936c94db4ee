"""Layers with a leading replica dimension, made by stacking the ordinary layers of each replica.

A stacked layer maps `(R, B, D)`, or `(M, D)` shared by all replicas, to `(R, B, …)`: replica r sees row r alone.
"""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from methods.base import Replica, Task
from methods.trained import TrainedMethod


class Linear:
    """R linear layers: `weight (R, out, in)`, `bias (R, 1, out)` or None."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.weight = _leaf([layer.weight for layer in layers])
        biases = [layer.bias[None] for layer in layers if layer.bias is not None]
        self.bias = _leaf(biases) if biases else None

    def parameters(self) -> list[Tensor]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x.expand(len(self.weight), *x.shape)
        if self.bias is None:
            return torch.bmm(x, self.weight.mT)
        return torch.baddbmm(self.bias, x, self.weight.mT)


class BatchNorm:
    """R BatchNorm1d layers over `(R, B, D)`, each with statistics of its own; PyTorch's kernel on `(B, R D)`."""

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        self.weight = _leaf([layer.weight[None] for layer in layers])
        self.bias = _leaf([layer.bias[None] for layer in layers])
        self.mean = torch.stack([_buffer(layer.running_mean)[None] for layer in layers])
        self.var = torch.stack([_buffer(layer.running_var)[None] for layer in layers])
        self.momentum, self.eps = layers[0].momentum, layers[0].eps
        self.training = True

    def parameters(self) -> list[Tensor]:
        return [self.weight, self.bias]

    def __call__(self, x: Tensor) -> Tensor:
        if not self.training:
            scale = self.weight * (self.var + self.eps).rsqrt()
            return torch.addcmul(self.bias - self.mean * scale, x, scale)
        return self._normalise(x.expand(len(self.mean), *x.shape[-2:]))

    def _normalise(self, x: Tensor) -> Tensor:
        replicas, batch, dim = x.shape
        flat = functional.batch_norm(
            x.transpose(0, 1).reshape(batch, replicas * dim),
            self.mean.view(-1),
            self.var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            True,
            self.momentum or 0.0,
            self.eps,
        )
        return flat.view(batch, replicas, dim).transpose(0, 1)


class Wrapped:
    """R copies of any other module, called through `vmap`."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        parameters, buffers = stack_module_state(list(layers))
        self.weights = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        self.buffers = dict(buffers)
        self.module = layers[0]
        self.training = True

    def parameters(self) -> list[Tensor]:
        return list(self.weights.values())

    def __call__(self, x: Tensor) -> Tensor:
        def one(weights: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.module, (dict(weights), dict(buffers)), (x,))

        self.module.train(self.training)
        rows = 0 if x.dim() == 3 else None
        return vmap(one, (0, 0, rows), randomness="different")(self.weights, self.buffers, x)


def _leaf(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).detach().requires_grad_()


def _buffer(value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError("a BatchNorm1d without running statistics can't classify one query at a time")
    return value


class Head:
    """The stacked head of R replicas: what `TrainedMethod.logits` gets, and what the engine trains."""

    def __init__(self, method: TrainedMethod, task: Task, replicas: Sequence[Replica]) -> None:
        singles = [_single(method, task, replica) for replica in replicas]
        self._namespace = SimpleNamespace()
        self._modules: list[Any] = []
        self._loose: list[Tensor] = []
        for name in singles[0]:
            setattr(self._namespace, name, self._stack([single[name] for single in singles], task.device))
        for name in method.scalars:
            values = torch.tensor([float(replica.params[name]) for replica in replicas], device=task.device)
            setattr(self._namespace, name, values[:, None, None])
        self._method = method

    def _stack(self, values: Sequence[Any], device: str) -> Any:
        """One stacked layer, parameter or constant from one of each replica."""
        first = values[0]
        if isinstance(first, nn.Parameter):
            self._loose.append(_leaf([value.to(device) for value in values]))
            return self._loose[-1]
        if isinstance(first, nn.Identity):
            return first
        if isinstance(first, nn.Module):
            kind = _STACKED.get(type(first), Wrapped)
            self._modules.append(kind([value.to(device) for value in values]))
            return self._modules[-1]
        if all(value is first for value in values):
            return torch.as_tensor(first, device=device)
        return torch.stack([torch.as_tensor(value, device=device) for value in values])

    def parameters(self) -> list[Tensor]:
        """The trainable tensors, each with a leading replica dimension."""
        return [*self._loose, *(weight for module in self._modules for weight in module.parameters())]

    def train(self, training: bool) -> None:
        """Whether BatchNorm takes the batch's statistics (and moves its own) or its own."""
        for module in self._modules:
            module.training = training

    def __call__(self, x: Tensor) -> Tensor:
        """Logits `(R, B, K)` of `x (R, B, D)` or `(M, D)`."""
        return self._method.logits(self._namespace, x)


_STACKED: dict[type[nn.Module], Callable[[Sequence[Any]], Any]] = {
    nn.Linear: Linear,
    nn.BatchNorm1d: BatchNorm,
}


def _single(method: TrainedMethod, task: Task, replica: Replica) -> Mapping[str, Any]:
    """The layers of one replica, initialised from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(replica.rng("init").integers(2**63)))
        layers = method.head(nn, task, replica)
    return {name: _constant(value) for name, value in layers.items()}


def _constant(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
