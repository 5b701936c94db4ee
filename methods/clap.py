"""CLAP: a linear probe that is held to the class texts, the firmer the better zero-shot knows the class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from methods import Array, Method, Params, Recipe, Replica, Support, Task, TrainedMethod, hookimpl, training, unit
from methods.contract.base import Floats


class Clap(TrainedMethod):
    """`s f Ŵ^T`, trained by cross-entropy `+ mean_k λ_k ‖w_k − t_k‖²`; W begins at the class texts T: zero-shot.

    λ_k is the mean zero-shot probability of class k on its own images. It stays fixed, so nothing has to be chosen on
    a validation set.
    """

    name = "clap"
    paper = "arXiv:2312.12730"
    params = training(lr=0.1, epochs=300, weight_decay=0.0, batch_size=256)

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def recipe(self, task: Task, params: Params) -> Recipe:
        lr, decay, epochs, batch_size = (params[name] for name in ("lr", "weight_decay", "epochs", "batch_size"))
        return Recipe("sgd", lr, decay, epochs, batch_size, schedule="cosine", momentum=0.9)

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        text = task.class_text()
        return {
            "weight": nn.Parameter(torch.tensor(text)),
            "text": text,
            "pull": pulls(task.supports[replica.seed], text, task.logit_scale),
            "scale": task.logit_scale,
        }

    def logits(self, head: Any, x: Array) -> Array:
        return head.scale * (x @ unit(head.weight).mT)

    def penalty(self, head: Any) -> Array:
        return (head.pull * (head.weight - head.text).square().sum(-1)).mean(-1)


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
