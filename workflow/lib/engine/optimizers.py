"""Optimisers over stacked weights: one fused pass for all replicas that share a rate.

On a CPU Adam is a kernel of ours, which divides once where PyTorch's divides twice. The rest are PyTorch's own fused
kernels, called directly: the classes of `torch.optim` around them cost as much as a small step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import cos, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.contract.params import brief, nearest
from methods.contract.recipe import Recipe
from workflow.lib.engine import kernels
from workflow.lib.engine.stacking import Late, made

BETAS = (0.9, 0.999)  # of Adam and AdamW, PyTorch's own


def steps(recipe: Recipe, per_epoch: int) -> int:
    """How many steps the whole training takes."""
    return recipe.steps or recipe.epochs * per_epoch


def rate(recipe: Recipe, per_epoch: int, step: int) -> float:
    """The learning rate at a step, counted from 0: warm-up, then what the schedule says."""
    warmup = recipe.warmup + recipe.warmup_epochs * per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / warmup if recipe.warmup_lr is None else recipe.warmup_lr
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(step >= epoch * per_epoch for epoch in recipe.milestones)
    if recipe.schedule == "epoch cosine":  # its end lies behind the last epoch, by as many as the warm-up took
        return _between(recipe, (1 + cos(pi * (step // per_epoch - recipe.warmup_epochs) / recipe.epochs)) / 2)
    done = (step - warmup) / max(1, steps(recipe, per_epoch) - warmup)
    return _between(recipe, 1 - done if recipe.schedule == "linear" else (1 + cos(pi * done)) / 2)


def _between(recipe: Recipe, share: float) -> float:
    """Of what lies between the rate and its floor, so much."""
    return recipe.floor + (recipe.lr - recipe.floor) * share


class Optimizer:
    """Updates the weights of R replicas in place, each with the rate and the decay of its own recipe."""

    def __init__(self, weights: Mapping[str, Tensor], recipes: Sequence[Recipe], per_epoch: int) -> None:
        names = list(weights)
        _check_rates(names, recipes[0])
        self.groups = [
            Group(weights, places, rows, recipes[rows.start], factor, per_epoch)
            for rows in _runs(recipes)
            for factor, places in _by_rate(names, recipes[rows.start])
        ]
        self._takes_late = all(group.compiled for group in self.groups)

    def snapshot(self) -> list[dict[str, Any]]:
        """The moments of the weights, and the steps done."""
        return [group.snapshot() for group in self.groups]

    def restore(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Go on from there."""
        for group, own in zip(self.groups, state, strict=True):
            group.restore(own)

    def step(self, gradients: Sequence[Tensor | Late]) -> None:
        """One step with the gradients of the weights, in their order and layout."""
        known = gradients if self._takes_late else made(gradients)
        rates = [group.next_rate() for group in self.groups]
        if not all(isinstance(gradient, Tensor) for gradient in known):
            for group, lr in zip(self.groups, rates, strict=True):
                group.step_late(known, lr)
        for group, lr in zip(self.groups, rates, strict=True):
            group.step(known, lr)

    def look_ahead(self) -> None:
        """Put the rates of the next epoch where `fixed_step` finds them: it is as if its steps were done."""
        for group in self.groups:
            group.look_ahead()

    def fixed_step(self, place: int, gradients: Sequence[Tensor | Late]) -> None:
        """A step of that epoch, whose rate is read from memory: the same call does for every epoch."""
        known = made(gradients)
        for group in self.groups:
            group.step(known, group.ahead[place])


class Group:
    """The weights at some places, of neighbouring replicas, that share a recipe and a rate."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        places: Sequence[int],
        rows: slice,
        recipe: Recipe,
        factor: float,
        per_epoch: int,
    ) -> None:
        self._names = list(weights)
        self._places, self.rows = places, rows
        self._recipe, self._factor, self._per_epoch = recipe, factor, per_epoch
        self._update = _KINDS[recipe.optimizer]
        # Views: the step changes the head itself.
        self.weights = [weights[self._names[place]].detach()[rows] for place in places]
        self.first = [torch.zeros_like(weight) for weight in self.weights]
        self.second = [] if recipe.optimizer == "sgd" else [torch.zeros_like(weight) for weight in self.weights]
        device = next(iter(weights.values())).device
        self.count = torch.zeros((), device=device)
        self.counts = [self.count] * len(self.weights)
        self.ahead = torch.zeros(per_epoch, device=device)
        self._step = 0
        states = [*zip(self.weights, self.first, self.second, strict=False)]
        self.compiled = bool(states) and all(map(kernels.fit, self.weights))
        self._states = [kernels.arrays(*state) for state in states if self.compiled]
        self._flat = [kernels.arrays(*(tensor.view(-1) for tensor in state)) for state in states if self.compiled]
        self._arrays = [kernels.Latest() for _ in self._flat]

    def next_rate(self) -> float:
        """The rate of the next step, which counts as done."""
        self._step += 1
        return self._factor * rate(self._recipe, self._per_epoch, self._step - 1)

    def state(self, name: str) -> Sequence[Any]:
        """The memory of a weight and its two moments; nothing if it does not learn, or not in this group."""
        place = self._names.index(name) if name in self._names else None
        return self._states[self._places.index(place)] if place in self._places else ()

    def snapshot(self) -> dict[str, Any]:
        """The moments of its weights, and the steps done."""
        return {"moments": [*self.first, *self.second, self.count], "step": self._step}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        torch._foreach_copy_([*self.first, *self.second, self.count], state["moments"])
        self._step = state["step"]

    def constants_ahead(self) -> Any:
        """The numbers of `kernels.adam` at an epoch's steps, `(S, 6)`, which count as done."""
        return np.array([self._constants(self.next_rate()) for _ in range(self._per_epoch)], np.float32)

    def look_ahead(self) -> None:
        """The rates of an epoch's steps, which count as done."""
        self.ahead.copy_(torch.tensor([self.next_rate() for _ in self.ahead]))

    def step_late(self, gradients: Sequence[Tensor | Late], lr: float) -> None:
        """The part of a step that belongs to late gradients, before all others: these are made on the way."""
        for index, place in enumerate(self._places):
            gradient = gradients[place]
            if not isinstance(gradient, Tensor):
                gradient.adam(self.rows, self._states[index], self._constants(lr))

    def step(self, gradients: Sequence[Tensor | Late], lr: float | Tensor) -> None:
        """The rest of it, with a rate that is a number or lies on the device."""
        own = [gradients[place] for place in self._places]
        if self.compiled and not isinstance(lr, Tensor):
            constants = self._constants(lr)
            for state, array, gradient in zip(self._flat, self._arrays, own, strict=True):
                if isinstance(gradient, Tensor):
                    kernels.adam(array(gradient)[self.rows].reshape(-1), *state, *constants)
        else:
            self.count += 1
            # The fused kernels walk raw memory: a transposed gradient would meet the wrong weights.
            self._update(self, [gradient[self.rows].contiguous() for gradient in made(own)], lr, self._recipe)

    def _constants(self, lr: float) -> tuple[float, ...]:
        """The numbers of `kernels.adam` at this step."""
        decay, coupled = self._recipe.weight_decay, self._recipe.optimizer == "adam"
        grown = 1 - BETAS[1] ** self._step
        corrected, eps = lr * grown**0.5 / (1 - BETAS[0] ** self._step), self._recipe.eps * grown**0.5
        return *BETAS, corrected, eps, *((1.0, decay) if coupled else (1 - lr * decay, 0.0))


def _adamw(group: Group, gradients: list[Tensor], lr: float | Tensor, recipe: Recipe) -> None:
    _adam_with(torch._fused_adamw_, group, gradients, lr, recipe)


def _adam(group: Group, gradients: list[Tensor], lr: float | Tensor, recipe: Recipe) -> None:
    _adam_with(torch._fused_adam_, group, gradients, lr, recipe)


def _adam_with(
    kernel: Callable[..., object], group: Group, gradients: list[Tensor], lr: float | Tensor, recipe: Recipe
) -> None:
    kernel(
        group.weights,
        gradients,
        group.first,
        group.second,
        [],
        group.counts,
        lr=lr,
        beta1=BETAS[0],
        beta2=BETAS[1],
        weight_decay=recipe.weight_decay,
        eps=recipe.eps,
        amsgrad=False,
        maximize=False,
    )


def _sgd(group: Group, gradients: list[Tensor], lr: float | Tensor, recipe: Recipe) -> None:
    torch._fused_sgd_(
        group.weights,
        gradients,
        group.first,
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        lr=lr,
        dampening=0.0,
        nesterov=False,
        maximize=False,
        is_first_step=False,  # the first step would copy the gradient, which momentum times zero plus it is as well
    )


_KINDS: dict[str, Callable[[Group, list[Tensor], float | Tensor, Recipe], None]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}


def _runs(recipes: Sequence[Recipe]) -> Iterator[slice]:
    """Neighbours with the same recipe, so that one pass serves them."""
    edges = [i for i, recipe in enumerate(recipes) if i == 0 or recipe != recipes[i - 1]]
    yield from (slice(a, b) for a, b in pairwise([*edges, len(recipes)]))


def _check_rates(names: Sequence[str], recipe: Recipe) -> None:
    """Raise ValueError for a rate of what is no part of the head, or one that does not learn."""
    parts = list(dict.fromkeys(name.split(".")[0] for name in names))
    for part in recipe.rates:
        if part not in parts:
            known = f"allowed: the parts that learn, {', '.join(parts)}{nearest(part, parts)}"
            raise ValueError(f"a recipe's rates: found {brief(part)}, {known}")


def _by_rate(names: Sequence[str], recipe: Recipe) -> list[tuple[float, list[int]]]:
    """Factors on the rate, each with the places of the weights that it holds for."""
    places: dict[float, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(recipe.rates.get(name.split(".")[0], 1.0), []).append(place)
    return list(places.items())
