"""2SFS: the towers' LayerNorms first, then a classifier on what they have come to give."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from methods import Array, Candidate, Facts, Method, Param, Params, Recipe, Replica, Task, TrainedMethod, hookimpl, unit
from methods.contract import adapted
from methods.contract.adaptation import Adaptable, Adaptation, Norms


class TwoStage(adapted.AdaptedMethod):
    """`s f t^T` with all LayerNorms of the text tower trained, then `s f unit(w)^T` with w from its texts on.

    The first stage takes 60 % of the steps; the second has texts that no longer change, and trains a classifier
    W `(K, D)` that starts at them. In each the rate falls from `lr` to 1e-6.
    """

    name = "two_stage"
    paper = "arXiv:2503.11609"
    departs = "half precision; a fresh crop of each image in every epoch"
    facts = Facts(
        year=2025,
        formula="s f t^T with LayerNorms trained, then s f unit(w)^T with w from t on",
        training="AdamW, 300 steps for each shot: 60 % through the tower, the rest on what it gives",
        learned="(4 * L + 2) * W + K * D",
        fit="E * N * (K * G / 53 + 2 * D * K)",
        memory="270 * L * K * W",
        use="From 2 shots on; a classifier of its own learns what the text tower can't say.",
        fails="With one shot its classifier may follow that one image; slow with many classes.",
        passes=96,
    )
    params = {
        "share": Param(0.6, "share of the steps that the first stage takes", above=0, high=1),
        **adapted.parameters(300),
    }

    def of_tower(self, nn: Any, tower: Adaptable, params: Params) -> Mapping[str, Any]:
        weight, bias = tower.norms()
        return {"weight": nn.Parameter(weight), "bias": nn.Parameter(bias)}

    def adaptation(self, head: Any, side: str) -> Adaptation:
        return Adaptation(norms=Norms(getattr(head, f"{side}_weight"), getattr(head, f"{side}_bias")))

    def recipe(self, task: Task, params: Params) -> Recipe:
        return adapted.recipe(params, _first(task, params))

    def trainable(self, task: Task, params: Params) -> int:
        return super().trainable(task, params) + task.classes * task.dim

    def candidates(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        import torch

        for together, head in task.trainer().trained(self, task, replicas):
            with torch.no_grad():
                texts = unit(self.texts(head))
            second = Second(dict(zip(together, texts, strict=True)))
            before = _first(task, together[0].params)
            for candidate in task.trainer().train(second, task, together):
                yield replace(candidate, point={"step": before + candidate.point["step"]})


class Second(TrainedMethod):
    """The second stage: `s f unit(w)^T`, with w from the texts of each replica on."""

    name = TwoStage.name

    def __init__(self, texts: Mapping[Replica, Any]) -> None:
        self._texts = texts

    def recipe(self, task: Task, params: Params) -> Recipe:
        return adapted.recipe(params, max(1, adapted.steps(task, params) - _first(task, params)))

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {"logit_scale": task.logit_scale, "weight": nn.Parameter(self._texts[replica])}

    def logits(self, head: Any, x: Array) -> Array:
        return x @ (head.logit_scale * unit(head.weight)).mT


def _first(task: Task, params: Params) -> int:
    """The steps of the first stage."""
    return max(1, round(params["share"] * adapted.steps(task, params)))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [TwoStage]
