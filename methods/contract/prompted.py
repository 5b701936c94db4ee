"""What the methods that learn a prompt's context vectors have in common (CoOp, arXiv:2109.01134)."""

from collections.abc import Mapping
from typing import Any

from methods.contract import shots
from methods.contract.base import Array, Params, Replica, Task
from methods.contract.params import Param
from methods.contract.recipe import PRECISION, WARMUP_RATE, Recipe, training
from methods.contract.towers import TowerMethod

SPREAD = 0.02  # of contexts that begin at random


def parameters(context: int, init: str, epochs: Param, class_specific: bool = False) -> dict[str, Param]:
    """Of a method whose contexts are so many, or begin at the words `init`."""
    return {
        "context": Param(context, "number of context vectors M, where `init` gives none", low=1),
        "init": Param(init, "words whose tokens the contexts begin at; '' draws them from N(0, 0.02²)"),
        **({"class_specific": Param(False, "whether each class has contexts of its own")} if class_specific else {}),
        "views": Param(False, "whether each epoch takes each image by one of its augmented views"),
        **training(lr=2e-3, epochs=0, weight_decay=5e-4),
        "epochs": epochs,
        "warmup_lr": WARMUP_RATE,
        "precision": PRECISION,
    }


class PromptMethod(TowerMethod):
    """Base of the methods that learn context vectors before `class name.`, with CoOp's recipe."""

    def needs(self, params: Params) -> frozenset[str]:
        return super().needs(params) | (frozenset({"views"}) if params["views"] else frozenset())

    def recipe(self, task: Task, params: Params) -> Recipe:
        return Recipe(
            "sgd",
            params["lr"],
            params["weight_decay"],
            params["epochs"] or shots.coop_epochs(task),
            params["batch_size"],
            schedule="epoch cosine",
            momentum=0.9,
            warmup_epochs=1,
            warmup_lr=params["warmup_lr"],
            views="random" if params["views"] else "",
            precision=params["precision"],
        )

    def parts(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        encoder, params = task.text_encoder(), replica.params
        begin = encoder.embedded(params["init"]) if params["init"] else None
        learned = params["context"] if begin is None else len(begin)
        prompts = encoder.prompts([f"{name}." for name in encoder.names], learned)
        if begin is None:
            begin = torch.randn(learned, prompts.width) * SPREAD
        if params.get("class_specific", False):
            begin = begin.repeat(task.classes, 1, 1)
        return {"context": nn.Parameter(begin), "prompts": prompts}

    def texts(self, head: Any) -> Array:
        return head.prompts(head.context)
