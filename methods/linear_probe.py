"""A linear layer on the image embedding, with or without a BatchNorm before it."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Facts, Method, Param, Params, Replica, Task, TrainedMethod, by_hand, hookimpl, training
from methods.contract.recipe import WISE


class LinearProbe(TrainedMethod):
    """`W BN(f) + b`, or `W f + b`, trained with cross-entropy.

    With PyTorch's own start it knows nothing of the texts, and with few images it is below zero-shot. `init: text`
    starts at `W = s T`, b = 0, without BatchNorm unless that is asked for: zero-shot.
    """

    name = "linear_probe"
    paper = "arXiv:2103.00020"
    departs = "of the starting study's: the best epoch on the reported split, which its numbers were taken from"
    facts = Facts(
        year=2021,
        formula="W BN(f) + b",
        training="AdamW, 200 epochs",
        learned="2 * D + (D + 1) * K",
        fit="4 * E * N * D * K",
        memory="4 * (2 * D + (D + 1) * K)",
        use=(
            "With many images of each class; with `init: text` from a few on, and with `wise` below 1 where "
            "they are few."
        ),
        fails=(
            "From its random start, with few images: it knows nothing of the class names. BatchNorm's "
            "statistics are poor in small supports."
        ),
        passes=200,
    )
    random_per_class = True
    compiled = "linear"
    params = {
        "init": Param("random", "where W and b start: PyTorch's own, or the class texts", choices=("random", "text")),
        "batch_norm": Param(True, "BatchNorm before the linear layer; false by default with `init: text`"),
        **training(lr=1e-4, epochs=200),
        "wise": WISE,
    }
    blends = "wise"

    @classmethod
    def defaults(cls, settings: Params) -> dict[str, Any]:
        return super().defaults(settings) | {"batch_norm": settings.get("init") != "text"}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image"} | ({"text"} if params.get("init") == "text" else set()))

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        norm = [nn.BatchNorm1d(task.dim)] if replica.params["batch_norm"] else []
        linear = nn.Linear(task.dim, task.classes)
        if replica.params.get("init") == "text":
            import torch

            linear.weight.data = torch.tensor(task.logit_scale * task.class_text())
            linear.bias.data.zero_()
        return {"classifier": nn.Sequential(*norm, linear)}

    def logits(self, head: Any, x: Array) -> Array:
        return head.classifier(x)

    # --- Written out by hand: the same numbers as `logits`, faster ---

    def vjp(self, head: Any, x: Array) -> tuple[Array, by_hand.Pullback]:
        logits, pull = head.classifier.vjp(x)
        late = type(self) is LinearProbe  # a subclass may work with the gradients
        return logits, lambda gradient: by_hand.named("classifier", pull(gradient, inputs=False, late=late)[1])


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LinearProbe]
