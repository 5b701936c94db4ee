"""CALIP: zero-shot with an attention without parameters between the tokens of an image and the class texts."""

from collections.abc import Callable

import numpy as np

from methods import Array, Facts, GridMethod, Method, Param, Params, Replica, Task, hookimpl
from methods.contract.per_queries import PerQueries


class Calip(GridMethod):
    """`s g T^T + β₂ l₁ + β₃ l₂` with g the image, P its other tokens `(HW, D)` and `A = 2 P T^T`.

    `l₁ = s (g P^T) softmax_HW(A)`: for each class the image's cosines to its tokens, read where the class is seen.
    `l₂ = s v T^T` with `v = mean_p + max_p` of `softmax_K(A) T`: the texts that the tokens see. Nothing is made unit
    again. Both depend on image and text alone and are written by the extraction, 2 K numbers an image.

    Labelled images serve only to choose β₂ and β₃, where the protocol chooses; the defaults are one published pair.
    """

    name = "calip"
    paper = "arXiv:2209.14169"
    departs = "β₂ and β₃ of each dataset, chosen on the reported split; CALIP-FS, which trains"
    facts = Facts(
        year=2022,
        formula="s g T^T + β₂ l₁ + β₃ l₂",
        training="none",
        learned="0",
        fit="0",
        memory="D * K",
        use="Without a labelled image, or with a few to choose β₂ and β₃ by, where the model's tokens tell of places.",
        fails=(
            "Tokens were never trained to be compared with text: the defaults can be below zero-shot. Where all "
            "positions of a ResNet's pool answer nearly the same, as with `nano`, nothing changes."
        ),
    )
    params = {
        "beta2": Param(1.12, "weight β₂ of the image's tokens where a class is seen", low=0),
        "beta3": Param(0.02, "weight β₃ of the texts that the tokens see", low=0),
    }
    grid = {"beta2": [0.0, *np.geomspace(0.001, 2, 20)], "beta3": [0.0, *np.geomspace(0.001, 0.1, 10)]}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "spatial_logits"})

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        text = task.class_text()

        def logits(queries: Array, beta2: float, beta3: float) -> Array:
            _, first, second = task.tokens_apart(queries)
            return zero_shot(queries) + np.float32(beta2) * first + np.float32(beta3) * second

        zero_shot = PerQueries(lambda queries: task.logit_scale * task.tokens_apart(queries)[0] @ text.T)
        return logits


@hookimpl
def register_methods() -> list[type[Method]]:
    return [Calip]
