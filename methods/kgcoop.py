"""KgCoOp: CoOp held to the class texts of the prompts that people wrote."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Facts, Method, Param, Params, Replica, Task, hookimpl
from methods.contract import prompted


class KnowledgeGuidedContext(prompted.PromptMethod):
    """CoOp with `λ (1 − mean_k t_k · T_k)` beside the cross-entropy: learned class texts t stay near T, zero-shot's.

    The contexts begin at the words of a prompt and are shared by all classes.
    """

    name = "kgcoop"
    paper = "arXiv:2303.13283"
    departs = (
        "a fresh crop of each image in every epoch, for which `views` takes cached ones; T of one prompt, where it is"
        " that of all templates here"
    )
    facts = Facts(
        year=2023,
        formula="s f t^T, t_k = unit(g(V, name_k)), with λ (1 − mean_k t_k · T_k) in the loss",
        training="SGD, 100 epochs, through the text tower",
        learned="4 * W",
        fit="E * N * K * G / 40",
        memory="2160 * K * W",
        use="With few shots and a good text: it stays near zero-shot, and seldom falls below it.",
        fails="Where the text is poor, or images are many: what holds it to zero-shot keeps it from learning more.",
        passes=100,
    )
    params = {
        "weight": Param(8.0, "weight λ of what holds the class texts to zero-shot's", low=0),
        **prompted.parameters(4, "a photo of a", Param(100, "passes over the support", low=1)),
    }
    scalars = ("weight",)

    def needs(self, params: Params) -> frozenset[str]:
        return super().needs(params) | {"text"}

    def parts(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {**super().parts(nn, task, replica), "written": task.class_text()}

    def beside(self, head: Any, text: Array) -> Array:
        return head.weight[:, 0, 0] * (1 - (text * head.written).sum(-1).mean(-1))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [KnowledgeGuidedContext]
