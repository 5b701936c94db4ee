"""TaskRes: the class texts with a trained residual of the task's own."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Facts, Method, Param, Params, Recipe, Replica, Task, TrainedMethod, hookimpl, training, unit
from methods.contract import shots
from methods.contract.recipe import OWN_LENGTH, WARMUP_RATE, WISE


class TaskResidual(TrainedMethod):
    """`s f T̂'^T` with `T' = T + α X`, where X `(K, D)` is trained and begins at zero, which is zero-shot.

    T are the texts at their own length, not unit: for texts ten times shorter the same α and rate are ten times too
    large. Texts that were made unit before they were stored count as of length 10.
    """

    name = "taskres"
    paper = "arXiv:2211.10277"
    departs = (
        "a fresh crop of each image in every epoch; α = 1 for Flowers102; the enhanced base classifier that the paper"
        " also starts from"
    )
    facts = Facts(
        year=2023,
        formula="s f T̂'^T, T' = T + α X",
        training="Adam, 100 or 200 epochs",
        learned="D * K",
        fit="4 * E * N * D * K",
        memory="6 * D * K",
        use="From 4 shots on, where the text is good.",
        fails="Where text was stored at unit length: rate and α belong to the length of the model's own embeddings.",
        passes=200,
    )
    params = {
        "alpha": Param(0.5, "weight α of the residual beside the class texts", low=0),
        "text_length": OWN_LENGTH,
        **training(lr=2e-3, epochs=100, weight_decay=5e-4, batch_size=256),
        "epochs": Param(0, "passes over the support; 0 takes 100, or 200 from 8 shots on", low=0),
        "warmup_lr": WARMUP_RATE,
        "wise": WISE,
    }
    blends = "wise"
    scalars = ("alpha",)

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def recipe(self, task: Task, params: Params) -> Recipe:
        epochs = params["epochs"] or (200 if shots.number(task) >= 8 else 100)
        return Recipe(
            "adam",
            params["lr"],
            params["weight_decay"],
            epochs,
            params["batch_size"],
            schedule="epoch cosine",
            warmup_epochs=1,
            warmup_lr=params["warmup_lr"],
        )

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        text = task.own_text(replica.params["text_length"])
        return {"residual": nn.Parameter(torch.zeros(text.shape)), "text": text, "scale": task.logit_scale}

    def logits(self, head: Any, x: Array) -> Array:
        return head.scale * (x @ unit(head.text + head.alpha * head.residual).mT)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [TaskResidual]
