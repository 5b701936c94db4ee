"""Methods that train the projection before the class texts and hold it to where it starts: `prolip` and `rla`."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from methods.contract import by_hand, shots
from methods.contract.base import Array, Floats, Params, Replica, Task
from methods.contract.by_hand import Pullback
from methods.contract.gridded import Point
from methods.contract.params import Param
from methods.contract.recipe import WISE, Recipe
from methods.contract.trained import TrainedMethod

BY_SHOTS = -1.0  # λ: 1 / n for n shots


class ProjectedMethod(TrainedMethod):
    """Base: `s f T^T` with `f = unit(x W + b)`, by cross-entropy `+ λ Σ (W − W₀)²`; override `start`."""

    paper = "arXiv:2410.05270"
    params: ClassVar[Mapping[str, Param]] = {
        "lr": Param(1e-5, "learning rate", above=0),
        "lambda": Param(BY_SHOTS, "weight λ of the distance from the start; −1 takes 1 / n for n shots", low=BY_SHOTS),
        "epochs": Param(300, "passes over the support, each of them one step", low=1),
        "views": Param(False, "take augmented view 1, 2, … of each image in epoch 1, 2, … in place of the image"),
        "wise": WISE,
    }
    alike = ("lambda",)
    blends = "wise"
    grid = {
        "lr": [10.0**power for power in range(-8, -1)],
        "lambda": [0.0, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0],
    }

    def start(self, task: Task) -> tuple[Floats, Floats]:
        """W₀ `(D', D)` and b `(D,)`."""
        raise NotImplementedError(f"{type(self).__name__} must override `start`")

    def configured(self, task: Task, replica: Replica) -> Point:
        return {"lr": replica.params["lr"], "lambda": penalty_weight(task, replica)}

    def recipe(self, task: Task, params: Params) -> Recipe:
        views = "in_turn" if params["views"] else ""
        return Recipe("adam", params["lr"], 0.0, params["epochs"], 0, schedule="epoch cosine", eps=1e-4, views=views)

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        weight, bias = self.start(task)
        return {
            "weight": nn.Parameter(torch.tensor(weight)),
            "start": weight,
            "bias": bias,
            "text": task.logit_scale * task.class_text(),
            "pull": np.full((1, 1), penalty_weight(task, replica), np.float32),
        }

    def logits(self, head: Any, x: Array) -> Array:
        moved = x @ head.weight + head.bias
        return moved @ head.text.mT / by_hand.length(moved)

    def penalty(self, head: Any) -> Array:
        return (head.pull * (head.weight - head.start).square()).sum((1, 2))

    # --- Written out by hand: the same numbers as `logits` and `penalty`, faster ---

    def vjp(self, head: Any, x: Array) -> tuple[Array, Pullback]:
        moved = x @ head.weight
        moved += head.bias
        length = by_hand.length(moved)
        logits = (moved @ head.text.mT).div_(length)

        def pull(gradient: Array) -> Mapping[str, Array]:
            radial = (gradient * logits).sum(-1, keepdim=True).div_(length * length)
            text = head.text.expand(len(moved), *head.text.shape)
            for_moved = moved.mul_(radial.neg_()).baddbmm_(gradient.div_(length), text)
            held = (head.weight - head.start).mul_(2 * head.pull)
            return {"weight": held.baddbmm_(x.mT, for_moved)}

        return logits, pull


def penalty_weight(task: Task, replica: Replica) -> float:
    """λ."""
    given = float(replica.params["lambda"])
    return 1 / shots.number(task) if given == BY_SHOTS else given
