"""Fine-tuning of the whole image tower, or of both towers by CLIP's own loss (FLYP)."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Facts, Method, Param, Params, Recipe, Replica, Task, TunedMethod, hookimpl, training
from methods.contract.encoder import Model, Module
from methods.contract.recipe import PRECISION, WISE
from methods.contract.tuned import VIEWS

CONTRASTIVE = "contrastive"


class FineTuning(TunedMethod):
    """`s unit(g(x)) T^T`, with the whole image tower g trained by cross-entropy from the model's own weights on.

    With `loss: contrastive` both towers are trained, by CLIP's loss over the images of a batch and the texts of their
    classes (FLYP). It begins at zero-shot. BatchNorm has the statistics that it has. With `crop` below 1 an epoch sees
    another crop of each image. Afterwards `wise` mixes what was learned with the start (WiSE-FT).
    """

    name = "fine_tune"
    paper = "arXiv:2212.00638"
    departs = (
        "a batch of 512 images; a crop from the image as it was before it was made the model's size; of the prompts of"
        " a class one at random for each image, where it is their mean here; a scale s that is learned"
    )
    facts = Facts(
        year=2022,
        formula="s unit(g(x)) t^T, cross-entropy, or CLIP's own loss of a batch",
        training="AdamW, 10 epochs, through the image tower, or through both",
        learned="148 * Dp**2",
        fit="3 * E * N * I",
        memory="740 * Dp**2 + 37632 * N",
        use="With many images, on a GPU; `wise` at about 0.5 keeps what the model could do.",
        fails="With few shots and a rate that is too high it forgets; a training takes as long as all others together.",
        passes=10,
    )
    params = {
        "loss": Param("cross_entropy", "what is made small", choices=("cross_entropy", CONTRASTIVE)),
        **VIEWS,
        **training(lr=1e-5, epochs=10, weight_decay=0.1),
        "precision": PRECISION,
        "wise": WISE,
    }

    def needs(self, params: Params) -> frozenset[str]:
        both = {"text_encoder"} if params["loss"] == CONTRASTIVE else set()
        return super().needs(params) | both

    def texts(self, model: Model, task: Task, replica: Replica) -> Module | None:
        return model.texts() if replica.params["loss"] == CONTRASTIVE else None

    def recipe(self, task: Task, params: Params) -> Recipe:
        given = params["lr"], params["weight_decay"], params["epochs"], params["batch_size"]
        return Recipe("adamw", *given, schedule="cosine", warmup_epochs=1, precision=params["precision"])

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        views = task.loaded_model().views(replica.params["crop"], replica.params["flip"])
        return {**super().head(nn, task, replica), "views": views}

    def logits(self, head: Any, x: Array) -> Array:
        return super().logits(head, head.views(x))

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array | None:
        """CLIP's: each image among the texts of the batch, and each of these among its images."""
        if not callable(head.text):  # the texts are not trained
            return None
        size = labels.shape[1]
        pairs = logits.gather(-1, labels[:, None].expand(-1, size, -1))  # (R, B, B): of image i, the text of image j
        each = sum(pairs.log_softmax(dim).diagonal(dim1=-2, dim2=-1) for dim in (-1, -2))
        return -each.mean(-1) / 2


@hookimpl
def register_methods() -> list[type[Method]]:
    return [FineTuning]
