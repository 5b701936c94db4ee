"""The head of R replicas: what a method's `logits` gets, and what the engine trains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from methods.contract.base import Array, Params, Replica, Support, Task
from methods.contract.by_hand import Pullback
from methods.contract.changes import Changes
from methods.contract.encoder import Prompts
from methods.contract.program import Program
from methods.contract.recipe import Recipe
from workflow.lib.engine.layers import Layer, any_shape, changing, stack
from workflow.lib.engine.noise import Noise
from workflow.lib.engine.stacking import stacked
from workflow.lib.engine.tracing import traced


class Trainable(Protocol):
    """What the engine needs of a method: `methods.TrainedMethod` says what each member is."""

    name: ClassVar[str]
    scalars: ClassVar[tuple[str, ...]]
    blends: ClassVar[str]

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]: ...

    def logits(self, head: Any, x: Array) -> Array: ...

    def vjp(self, head: Any, x: Array) -> tuple[Array, Pullback] | None: ...

    def folded(self, head: Any) -> Callable[[Array], Array]: ...

    def changed_tower(self, head: Any) -> Changes | None: ...

    def behind_tower(self, head: Any) -> Callable[[Array], Array]: ...

    def penalty(self, head: Any) -> Array | None: ...

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array | None: ...

    def overrides(self, hook: str) -> bool: ...

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]: ...

    def recipe(self, task: Task, params: Params) -> Recipe: ...


class Head:
    """The stacked layers, parameters, constants and scalars of R replicas, under their names."""

    def __init__(self, method: Trainable, task: Task, replicas: Sequence[Replica]) -> None:
        self._method = method
        self._replicas = len(replicas)
        self.compiled: str = vars(type(method)).get("compiled", "")  # a subclass may compute another head
        self.noise = Noise(replicas, task.device)  # what its layers draw random numbers from
        self.parts = SimpleNamespace()
        self._layers: dict[str, Layer] = {}
        self._loose: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}  # trainable, (R, …), by the part and the layer's own name
        singles = [_single(method, task, replica) for replica in replicas]
        for name in singles[0]:
            setattr(self.parts, name, self._stack(name, [single[name] for single in singles], task.device))
        for name in method.scalars:
            values = torch.tensor([float(replica.params[name]) for replica in replicas], device=task.device)
            setattr(self.parts, name, values[:, None, None])

    def _stack(self, name: str, values: Sequence[Any], device: str) -> Any:
        """One stacked layer, parameter or constant from one of each replica."""
        if isinstance(values[0], nn.Module):
            layer = stack([value.to(device) for value in values], self.noise)
            self._layers[name] = layer
            self._register({f"{name}.{inner}": weight for inner, weight in layer.weights.items()})
            return layer
        if isinstance(values[0], nn.Parameter):
            parameter = stacked([value.to(device) for value in values])
            self._loose[name] = parameter
            self._register({name: parameter})
            return parameter
        if isinstance(values[0], Prompts):
            return values[0]  # of one tower and one list of texts for all replicas
        constants = [_constant(value, device) for value in values]
        if all(torch.equal(constant, constants[0]) for constant in constants[1:]):
            return constants[0]  # shared: one product serves all replicas
        return torch.stack(constants)

    def _register(self, weights: Mapping[str, Tensor]) -> None:
        self.weights |= {name: weight for name, weight in weights.items() if weight.requires_grad}

    def train(self, training: bool) -> None:
        """Whether BatchNorm takes the batch's statistics (and moves its own) or its own."""
        for layer in self._layers.values():
            layer.training = training

    def snapshot(self) -> list[Tensor]:
        """What training changes: the weights, and what layers keep of the batches."""
        kept = (tensor for layer in self._layers.values() for tensor in changing(layer))
        return [*(weight.detach() for weight in self.weights.values()), *kept]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from there."""
        torch._foreach_copy_(self.snapshot(), list(state))

    def state(self, replica: int) -> dict[str, Tensor]:
        """What one replica has learned, under the names and in the layout of PyTorch's `state_dict`."""
        layers = ((name, layer.state(replica)) for name, layer in self._layers.items())
        inner = {f"{name}.{key}": tensor for name, state in layers for key, tensor in state.items()}
        return inner | {name: tensor[replica] for name, tensor in self._loose.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """Logits `(R, B, K)` of `x (R, B, D)` or `(M, D)`."""
        return self._method.logits(self.parts, x)

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback] | None:
        """Logits of a training batch `x (R, B, D)` and how the weights' gradients by name come from theirs, if the
        method has written that out.
        """
        return self._method.vjp(self.parts, x)

    def folded(self) -> Callable[[Tensor], Tensor]:
        """What maps queries `(M, D)` to logits `(R, M, K)` with the weights as they are now."""
        classify = self._method.folded(self.parts)
        if any(map(any_shape, self._layers.values())) and not self._method.overrides("folded"):
            return lambda x: classify(x.expand(self._replicas, *x.shape))  # as in training
        return classify

    @property
    def tracks(self) -> bool:
        """Whether a layer keeps something of the batches that it has seen."""
        return any(changing(layer) for layer in self._layers.values())

    def behind(self, task: Task) -> Program | None:
        """As data, what the head of one replica does behind an image tower that it changes; None where it has none."""
        changes = self._method.changed_tower(self.parts)
        if changes is None:
            return None
        classify, dim = self._method.behind_tower(self.parts), task.class_text().shape[1]
        return replace(traced(classify, dim, task.device), tower=changes)

    @cached_property
    def own_loss(self) -> bool:
        """Whether the method may have a loss in place of the cross-entropy."""
        return self._method.overrides("loss")

    def penalty(self) -> Tensor | None:
        """What the method adds to the loss, `(R,)`."""
        return self._method.penalty(self.parts)

    def loss(self, logits: Tensor, labels: Tensor, x: Tensor) -> Tensor | None:
        """The method's own loss `(R,)` in place of the cross-entropy."""
        return self._method.loss(self.parts, logits, labels, x)


def _single(method: Trainable, task: Task, replica: Replica) -> Mapping[str, Any]:
    """The layers of one replica, initialised from its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(replica.rng("init").integers(2**63)))
        return method.head(nn, task.of(replica), replica)


def _constant(value: Any, device: str) -> Tensor:
    array = torch.from_numpy(value) if isinstance(value, np.ndarray) else torch.as_tensor(value)
    return array.detach().to(device)
