"""Cross-modal adaptation: a linear classifier that takes the class texts as further labelled samples."""

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
    by_hand,
    hookimpl,
)
from methods.contract.recipe import WISE

EVERY = 100  # steps between candidates


class CrossModal(TrainedMethod):
    """`s x W^T`, trained by cross-entropy on images and class texts alike, half of each step's samples from either.

    W begins at the class texts, which is zero-shot, and is not kept unit.
    """

    name = "cross_modal"
    paper = "arXiv:2301.06267"
    departs = (
        "rate, decay and batch size (8 or 32) and the step, which it chooses on min(n, 4) images of each class of val;"
        " flipped views of the images"
    )
    facts = Facts(
        year=2023,
        formula="s x W^T, x images and class texts",
        training="AdamW, 12 800 steps of 8",
        learned="D * K",
        fit="4 * 12800 * 8 * D * K",
        memory="4 * D * K",
        use="With one to four images of each class: the texts count as images.",
        fails="Where image and text embeddings are far apart; at many shots the texts are drowned.",
    )
    random_per_class = True  # where there are more classes than texts in a batch: their order
    params = {
        "lr": Param(1e-3, "learning rate", above=0),
        "weight_decay": Param(0.01, "weight decay", low=0),
        "steps": Param(12800, "steps of the optimiser", low=1),
        "warmup": Param(50, "steps over which the learning rate rises", low=0),
        "batch_size": Param(8, "samples per step, half images and half texts; 0 takes all", low=0),
        "wise": WISE,
    }
    blends = "wise"

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        return [task.supports[replica.seed], Support(task.class_text(), np.arange(task.classes))]

    def recipe(self, task: Task, params: Params) -> Recipe:
        return Recipe(
            "adamw",
            params["lr"],
            params["weight_decay"],
            epochs=0,
            batch_size=-(-params["batch_size"] // 2),  # of each half
            schedule="cosine",
            warmup=params["warmup"],
            steps=params["steps"],
            every=EVERY,
        )

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        # (D, K), transposed: so its gradient comes out of the product as the optimiser wants it.
        weight = torch.tensor(task.class_text()).T.contiguous()
        return {"weight": nn.Parameter(weight), "scale": task.logit_scale}

    def logits(self, head: Any, x: Array) -> Array:
        return head.scale * (x @ head.weight)

    # --- Written out by hand: the same numbers as `logits`, faster ---

    def vjp(self, head: Any, x: Array) -> tuple[Array, by_hand.Pullback]:
        return self.logits(head, x), lambda gradient: {"weight": x.mT @ gradient.mul_(head.scale)}


@hookimpl
def register_methods() -> list[type[Method]]:
    return [CrossModal]
