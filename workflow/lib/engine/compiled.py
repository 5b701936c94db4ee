"""Which heads train by compiled epochs, on a CPU, and what of theirs these work on."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from methods.contract.base import Array
from methods.contract.recipe import Recipe
from workflow.lib.engine import kernels, steps
from workflow.lib.engine.batch_norm import BatchNorm, standardise
from workflow.lib.engine.batches import Batches
from workflow.lib.engine.heads import Head
from workflow.lib.engine.layers import Elementwise, Sequential
from workflow.lib.engine.linear import Linear
from workflow.lib.engine.optimizers import Group, Optimizer

Arguments = tuple[Any, ...]
LARGE = 2**28  # bytes of samples that are worth mixing beforehand
SLICE = 1024  # samples that are mixed at a time

_NOTHING = np.empty((0, 0, 0), np.float32)
NO_NORM = (_NOTHING,) * 3, (_NOTHING,) * 3, (_NOTHING,) * 2, 0.0, 0.0


class UnfitError(Exception):
    """Something about a head is not as the compiled epochs have it: it trains step by step."""


class _Plan(NamedTuple):
    """Compiled epochs for a head: samples and labels, the first row of each replica, and what belongs to a group."""

    kernel: Callable[..., None]
    x: Tensor
    y: Tensor
    first: Array
    of: Callable[[Group], Arguments]


class Epochs:
    """Trains all replicas for an epoch at a time. Raises `UnfitError` where there is no compiled code for the head."""

    def __init__(self, head: Head, recipe: Recipe, batches: Batches, optimizer: Optimizer) -> None:
        source = batches.only
        _need(head.compiled in KINDS and recipe.optimizer in ("adam", "adamw"))
        _need(
            not (recipe.rates or recipe.label_smoothing or recipe.mixup or recipe.ema or recipe.steps or recipe.every)
        )
        _need(source.x.dim() == 2 and kernels.fit(source.x) and all(group.compiled for group in optimizer.groups))
        self._source, self._edges = source, np.array([0, *(stop for _, stop in source.bounds)])
        _need(np.diff(self._edges).min() > 1)  # a BatchNorm says what is wrong with batches of one
        plan = KINDS[head.compiled](head.parts, source.x, source.y, len(source.first))
        self._kernel, self._first = plan.kernel, plan.first
        self._samples = kernels.arrays(plan.x, plan.y)
        self._groups = [(group, plan.of(group)) for group in optimizer.groups]

    def __call__(self) -> Array:
        """An epoch of every replica; gives p(label) of its samples `(R, n)`."""
        order = self._source.draw() + self._first
        likely = np.empty(order.shape, np.float32)
        for group, arguments in self._groups:
            own = order[group.rows], self._edges, group.constants_ahead(), likely[group.rows]
            self._kernel(*self._samples, *own, *arguments)
        return likely


def _need(what: bool) -> None:
    if not what:
        raise UnfitError


def _linear(head: Any, x: Tensor, y: Tensor, replicas: int) -> _Plan:
    """`logits` is `head.classifier(x)`."""
    first = np.zeros((replicas, 1), np.int64)
    return _Plan(steps.linear, x, y, first, lambda group: _classifier("classifier", head.classifier, group))


def _attention(head: Any, x: Tensor, y: Tensor, replicas: int) -> _Plan:
    """`logits` is that of the attention probe."""
    text, ratios = head.text, head.ratio.flatten()
    _need(text.dim() == 2 and len(text) > 1 and kernels.fit(text))
    if _idle(head.image_norm) and _idle(head.text_norm):
        # Nothing before the classifier learns: each sample is the same mixture at every step.
        distinct, place = ratios.unique(return_inverse=True)
        _need(x.nbytes * len(distinct) <= LARGE)
        mixed, labels = torch.cat([_mixed(x, text, ratio) for ratio in distinct]), y.repeat(len(distinct))
        return _linear(head, mixed, labels, replicas)._replace(first=place[:, None].numpy() * len(x))
    _need(isinstance(head.text_norm, BatchNorm))
    centred, inverse, mean, var = standardise(text[None], head.text_norm.eps)
    statistics = torch.cat([mean[0], var[0] * (len(text) / (len(text) - 1))])
    constant = kernels.arrays((centred * inverse)[0], statistics)

    def of(group: Group) -> Arguments:
        norms = (_norm(name, getattr(head, name), group) for name in ("image_norm", "text_norm"))
        own = _classifier("classifier", head.classifier, group)
        return *own, *norms, *constant, ratios[group.rows].numpy()

    return _linear(head, x, y, replicas)._replace(kernel=steps.attention, of=of)


def _mixed(x: Tensor, text: Tensor, ratio: Tensor) -> Tensor:
    """What attends with neither BatchNorm, slice by slice."""
    keys = text.mT * x.shape[-1] ** -0.5
    return torch.cat([part.lerp((part @ keys).softmax(-1) @ text, ratio) for part in torch.split(x, SLICE)])


def _adapter(head: Any, x: Tensor, y: Tensor, replicas: int) -> _Plan:
    """`logits` is CLIP-Adapter's."""
    _need(head.text.dim() == 2 and kernels.fit(head.text))
    for layer in (head.down, head.up):
        _need(type(layer) is Linear and layer.bias is None)
    (text,) = kernels.arrays(head.text.contiguous())

    def of(group: Group) -> Arguments:
        weights = (_state(f"{name}.weight", group) for name in ("down", "up"))
        norm = NO_NORM if _idle(head.norm) else _norm("norm", head.norm, group)
        return *weights, norm, text, head.ratio.flatten()[group.rows].numpy()

    return _linear(head, x, y, replicas)._replace(kernel=steps.adapter, of=of)


KINDS: Mapping[str, Callable[[Any, Tensor, Tensor, int], _Plan]] = {
    "linear": _linear,
    "attention": _attention,
    "adapter": _adapter,
}


def _classifier(name: str, layer: Any, group: Group) -> Arguments:
    """A linear layer behind a BatchNorm or not, as a chain: weight, bias, BatchNorm."""
    _need(isinstance(layer, Sequential))
    *before, (place, last) = [(f"{name}.{i}", part) for i, part in enumerate(layer.parts) if not _idle(part)]
    _need(type(last) is Linear and last.bias is not None and len(before) <= 1)
    norm = _norm(*before[0], group) if before else NO_NORM
    return _state(f"{place}.weight", group), _state(f"{place}.bias", group), norm


def _norm(name: str, layer: Any, group: Group) -> Arguments:
    """The weights, the running statistics and the numbers of a BatchNorm."""
    _need(type(layer) is BatchNorm)
    running = kernels.arrays(layer.mean[group.rows], layer.var[group.rows])
    return _state(f"{name}.weight", group), _state(f"{name}.bias", group), tuple(running), layer.momentum, layer.eps


def _state(name: str, group: Group) -> Arguments:
    """A weight of the replicas of a group, which has to learn, and its moments."""
    state = group.state(name)
    _need(bool(state))
    return tuple(state)


def _idle(layer: Any) -> bool:
    return isinstance(layer, Elementwise) and layer.idle
