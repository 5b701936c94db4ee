"""Optimisers over stacked weights: one fused pass for all replicas that share a rate.

PyTorch's own fused kernels, called directly: the classes of `torch.optim` around them cost as much as a small step.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from math import cos, pi

import torch
from torch import Tensor

from methods.recipe import Recipe

BETAS = (0.9, 0.999)


def steps(recipe: Recipe, per_epoch: int) -> int:
    """How many steps the whole training takes."""
    return recipe.steps or recipe.epochs * per_epoch


def rate(recipe: Recipe, per_epoch: int, step: int) -> float:
    """The learning rate at a step, counted from 0: warm-up, then constant or half a cosine."""
    warmup = recipe.warmup + recipe.warmup_epochs * per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / warmup if recipe.warmup_lr is None else recipe.warmup_lr
    if recipe.schedule == "constant":
        return recipe.lr
    done = (step - warmup) / max(1, steps(recipe, per_epoch) - warmup)
    return recipe.lr * (1 + cos(pi * done)) / 2


class Optimizer:
    """Updates the weights of R replicas in place, each with the rate and the decay of its own recipe."""

    def __init__(self, weights: Mapping[str, Tensor], recipes: Sequence[Recipe], per_epoch: int) -> None:
        self._groups = [
            _Group([weights[name] for name in names], rows, recipes[rows.start], factor, per_epoch)
            for rows in _runs(recipes)
            for factor, names in _by_rate(weights, recipes[rows.start]).items()
        ]
        self._places = [
            [list(weights).index(name) for name in names]
            for rows in _runs(recipes)
            for names in _by_rate(weights, recipes[rows.start]).values()
        ]

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step with the gradients of the weights, in their order."""
        for group, places in zip(self._groups, self._places, strict=True):
            group.step([gradients[place] for place in places])
