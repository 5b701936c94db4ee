"""The image tower's last block, fine-tuned on tokens that are cached before it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from methods import Array, Facts, Method, Param, Params, Recipe, Replica, Task, TunedMethod, hookimpl, training
from methods.contract import shots
from methods.contract.recipe import PRECISION, WISE


class LastBlock(TunedMethod):
    """`s unit(g(x)) T^T` with g the image tower's last block, LayerNorm and projection; x is what goes into the block.

    g is trained by cross-entropy `+ λ / n ‖θ − θ₀‖²` for n shots, and begins at the model's own, which is zero-shot.
    What is below is frozen: it has run once, and its output is cached. Of a ResNet the last bottleneck and the
    attention pool are trained, BatchNorm with the statistics that it has. Afterwards `wise` mixes what was learned with
    the start.
    """

    name = "last_block"
    departs = "nothing; it is a baseline without a paper"
    facts = Facts(
        year=2021,
        formula="s unit(g(x)) T^T, cross-entropy + λ / n ‖θ − θ₀‖²",
        training="AdamW, 50 epochs, through the last block of the image tower",
        learned="12 * Dp**2 + Dp * D",
        fit="E * N * I / 4",
        memory="5 * (12 * Dp**2 + Dp * D) + 50 * N * Dp",
        use="From 2 shots on, where what tells the classes apart is in the image and not yet in its embedding.",
        fails="With one shot, and where the text is poor: on `planes` with `nano` it is above zero-shot only with a"
        " larger rate and `wise` at 0.5 (`studies/towers.yaml`), on `digits` always. Its cells read what goes into the"
        " block of every image from disk.",
        passes=50,
    )
    params = {
        "blocks": Param(1, "how many of the last blocks are trained", low=1, high=99),
        "lambda": Param(1.0, "weight λ of λ / n ‖θ − θ₀‖², n the shots", low=0),
        **training(lr=1e-5, epochs=50, weight_decay=0.0),
        "precision": PRECISION,
        "wise": WISE,
    }
    alike = ("lambda",)

    def blocks(self, params: Params) -> int:
        return int(params["blocks"])

    def recipe(self, task: Task, params: Params) -> Recipe:
        given = params["lr"], params["weight_decay"], params["epochs"], params["batch_size"]
        return Recipe("adamw", *given, schedule="cosine", precision=params["precision"])

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        pull = replica.params["lambda"] / shots.number(task)
        return {**super().head(nn, task, replica), "pull": np.full((1, 1), pull, np.float32)}

    def penalty(self, head: Any) -> Array:
        return head.pull.view(-1) * head.image.moved()


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LastBlock]
