"""Layers with a leading replica dimension, made by stacking the ordinary layers of each replica.

A stacked layer maps `(R, B, D)`, or `(M, D)` shared by all replicas, to `(R, B, …)`: replica r sees row r alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn
from torch.func import vjp

from workflow.lib.engine.batch_norm import BatchNorm
from workflow.lib.engine.linear import Linear
from workflow.lib.engine.modules import Modules
from workflow.lib.engine.noise import Dropouts, Noise
from workflow.lib.engine.norm_linear import NormLinear
from workflow.lib.engine.stacking import Gradients, Late, Pullback

ELEMENTWISE = (nn.Identity, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid)  # serve all replicas as they are


class Layer(Protocol):
    """R layers. `weights` are the trainable tensors by name, `training` whether BatchNorm uses the batch."""

    weights: dict[str, Tensor]
    training: bool

    def __call__(self, x: Tensor) -> Tensor: ...

    def state(self, replica: int) -> dict[str, Tensor]:
        """What PyTorch's `state_dict` of one replica's layer holds, but for counters."""
        ...


def stack(layers: Sequence[nn.Module], noise: Noise) -> Layer:
    """One stacked layer from the layer of each replica, which draws the random numbers that it needs from `noise`."""
    kind = Modules if any(map(_changed, layers)) else _STACKED.get(type(layers[0]), Modules)
    return kind(layers, noise)


def any_shape(layer: Layer) -> bool:
    """Whether a layer takes tensors of more than two sizes, of which the first must then be that of the replicas."""
    return bool(getattr(layer, "any_shape", False))


def changing(layer: Layer) -> Sequence[Tensor]:
    """What a layer keeps of the batches that it has seen, beside its weights."""
    found: Sequence[Tensor] = getattr(layer, "buffers", ())
    return found


def _changed(layer: nn.Module) -> bool:
    """Whether a layer is not what its class says: with hooks, as those of `weight_norm`, or without its usual parts."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return bool(hooked) or (isinstance(layer, nn.BatchNorm1d) and BatchNorm.lacks(layer))


class Sequential:
    """R chains of layers. A BatchNorm and the linear layer behind it run as one."""

    def __init__(self, layers: Sequence[nn.Sequential], noise: Noise) -> None:
        self.parts = [stack(parts, noise) for parts in zip(*layers, strict=True)]
        self._chain = list(_joined(self.parts))
        self.weights = {f"{i}.{name}": w for i, part in enumerate(self.parts) for name, w in part.weights.items()}
        self._training = True

    @property
    def training(self) -> bool:
        return self._training

    @training.setter
    def training(self, training: bool) -> None:
        self._training = training
        for part in self.parts:
            part.training = training
        for link, _ in self._chain:
            if isinstance(link, NormLinear) and not training:
                link.fold()

    @property
    def any_shape(self) -> bool:
        """Whether a part takes tensors of any shape."""
        return any(map(any_shape, self.parts))

    @property
    def buffers(self) -> Sequence[Tensor]:
        """What its parts keep of the batches."""
        return [tensor for part in self.parts for tensor in changing(part)]

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
        parts = enumerate(part.state(replica) for part in self.parts)
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


def _silent(layer: Callable[[Sequence[Any]], Layer]) -> Callable[[Sequence[Any], Noise], Layer]:
    """A stacked layer that draws no random numbers."""
    return lambda layers, noise: layer(layers)


_STACKED: dict[type[nn.Module], Callable[[Sequence[Any], Noise], Layer]] = {
    nn.Linear: _silent(Linear),
    nn.BatchNorm1d: _silent(BatchNorm),
    nn.Dropout: Dropouts,
    nn.Sequential: Sequential,
    **dict.fromkeys(ELEMENTWISE, _silent(Elementwise)),
}
