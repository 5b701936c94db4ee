"""Tip-Adapter-F: the cache model of Tip-Adapter with its keys fine-tuned."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Facts, Method, Param, Params, Recipe, Replica, Task, TrainedMethod, hookimpl, training


class TipAdapterF(TrainedMethod):
    """`s f T^T + α exp(−β (1 − f F^T)) Y` with F trained by cross-entropy, from the labelled images on.

    Before the first step it is `tip_adapter`. The keys F are not made unit again while they train.
    """

    name = "tip_adapter_f"
    paper = "arXiv:2207.09519"
    departs = (
        "a fresh crop of each image in every epoch; α, β and the epoch of each dataset, chosen on the reported split;"
        " ten views of each image to start from, unless `views: true`"
    )
    facts = Facts(
        year=2022,
        formula="s f T^T + α exp(−β (1 − f F^T)) Y, F trained",
        training="AdamW, 20 epochs",
        learned="N * D",
        fit="E * N * N * (4 * D + 4 * K) + 2 * E * N * D * K",
        memory="5 * N * D + N * K",
        use="From 8 shots on, where a training of seconds is affordable.",
        fails="With very many images: keys and each answer grow with N. With few, it overfits at the published rate.",
        passes=20,
    )
    params = {
        "beta": Param(5.5, "sharpness β: how fast a vote falls off with the distance of the key", low=0),
        "alpha": Param(1.0, "weight α of the votes beside the zero-shot logits", low=0),
        "views": Param(False, "start from the mean of the augmented views of each image in place of the image"),
        **training(lr=1e-3, epochs=20, batch_size=256),
    }
    scalars = ("alpha", "beta")

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"} | ({"views"} if params["views"] else set()))

    def recipe(self, task: Task, params: Params) -> Recipe:
        lr, decay, epochs, batch_size = (params[name] for name in ("lr", "weight_decay", "epochs", "batch_size"))
        return Recipe("adamw", lr, decay, epochs, batch_size, schedule="cosine", eps=1e-4)

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        support = task.supports[replica.seed]
        keys = support.mean_of_views() if replica.params["views"] else support
        return {
            "keys": nn.Parameter(torch.tensor(keys.x)),
            "labels": support.one_hot(task.classes),
            "text": task.class_text(),
            "scale": task.logit_scale,
        }

    def logits(self, head: Any, x: Array) -> Array:
        affinity = (head.beta * (x @ head.keys.mT - 1)).exp()
        return head.scale * (x @ head.text.mT) + head.alpha * (affinity @ head.labels)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [TipAdapterF]
