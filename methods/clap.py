"""CLAP: a linear probe that is held to the class texts, the firmer the better zero-shot knows the class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from methods import (
    Array,
    Facts,
    Method,
    Param,
    Params,
    Recipe,
    Replica,
    Support,
    Task,
    TrainedMethod,
    hookimpl,
    training,
    unit,
)
from methods.contract.base import Floats
from methods.contract.recipe import OWN_LENGTH, WARMUP_RATE, WISE


class Clap(TrainedMethod):
    """`s f Ŵ^T`, trained by cross-entropy `+ mean_k λ_k ‖w_k − t_k‖²`; W begins at the class texts T: zero-shot.

    λ_k is the mean zero-shot probability of class k on its own images. It stays fixed, so nothing has to be chosen on
    a validation set. T and W are at the texts' own length, not unit: on texts ten times shorter the published rate is
    a hundred times too large and the penalty a hundred times too small. Texts that were made unit before they were
    stored count as of length 10.
    """

    name = "clap"
    paper = "arXiv:2312.12730"
    departs = "20 augmented views of each image, unless `views: true` and the features have them"
    facts = Facts(
        year=2023,
        formula="s f Ŵ^T, cross-entropy + mean λ_k ‖w_k − t_k‖²",
        training="SGD, 300 epochs",
        learned="D * K",
        fit="4 * E * N * D * K",
        memory="5 * D * K",
        use="Without a validation set and with a good text: it is held to zero-shot where that is right.",
        fails=(
            "Where zero-shot is right on the support and wrong elsewhere; with text stored at unit length, the "
            "rate is too large."
        ),
        passes=300,
    )
    params = {
        "text_length": OWN_LENGTH,
        "views": Param(False, "train on every augmented view of an image, in place of the image"),
        **training(lr=0.1, epochs=300, weight_decay=0.0, batch_size=256),
        "warmup_lr": WARMUP_RATE,
        "wise": WISE,
    }
    blends = "wise"

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"} | ({"views"} if params["views"] else set()))

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        return [samples(task, replica)]

    def recipe(self, task: Task, params: Params) -> Recipe:
        return Recipe(
            "sgd",
            params["lr"],
            params["weight_decay"],
            params["epochs"],
            params["batch_size"],
            schedule="epoch cosine",
            momentum=0.9,
            warmup_epochs=1,
            warmup_lr=params["warmup_lr"],
        )

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        text = task.own_text(replica.params["text_length"])
        return {
            "weight": nn.Parameter(torch.tensor(text)),
            "text": text,
            "pull": pulls(samples(task, replica), unit(text), task.logit_scale),
            "scale": task.logit_scale,
        }

    def logits(self, head: Any, x: Array) -> Array:
        return head.scale * (x @ unit(head.weight).mT)

    def penalty(self, head: Any) -> Array:
        return (head.pull * (head.weight - head.text).square().sum(-1)).mean(-1)


def samples(task: Task, replica: Replica) -> Support:
    """What it trains on, and what λ is of: images, or all views of them."""
    support = task.supports[replica.seed]
    return support.every_view() if replica.params["views"] else support


def pulls(support: Support, text: Floats, scale: float) -> Floats:
    """λ `(K,)`: the mean zero-shot probability of each class on its own images, 0 of a class without."""
    logits = scale * support.x @ text.T
    own = np.exp(logits - logits.max(axis=1, keepdims=True))
    own /= own.sum(axis=1, keepdims=True)
    one_hot = support.one_hot(len(text))
    return (one_hot * own).sum(0) / one_hot.sum(0).clip(1)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [Clap]
