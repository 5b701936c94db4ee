"""2SFS: the towers' LayerNorms first, then a classifier on what they have come to give."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from methods import (
    Array,
    Candidate,
    Classifier,
    Facts,
    Method,
    Param,
    Params,
    Recipe,
    Replica,
    Support,
    Task,
    TrainedMethod,
    hookimpl,
    unit,
)
from methods.contract import adapted
from methods.contract.adaptation import Adaptable, Adaptation, Norms
from methods.contract.per_queries import PerQueries
from methods.contract.program import Program

SLICE = 64  # images that go through the tower at once, after the first stage
Embedded = Callable[[Array], Array]


class TwoStage(adapted.AdaptedMethod):
    """`s f t^T` with all LayerNorms of both towers trained, then `s f unit(w)^T` with w from these texts on.

    The first stage takes 60 % of the steps. The second has towers that no longer change: their embeddings are computed
    once, and a classifier W `(K, D)` that starts at the texts is all that it trains. In each stage the rate falls from
    `lr` to 1e-6. With `encoder: text` images stay cached features, and a ResNet will do.
    """

    name = "two_stage"
    paper = "arXiv:2503.11609"
    departs = (
        "half precision, for which `precision: bf16` is near; a crop from the image as it was before it was made the"
        " model's size, for which `crop: 0.08`"
        " and `flip` are near, and in the first stage alone; the paper does not say what schedule the second stage has"
    )
    facts = Facts(
        year=2025,
        formula="s f t^T with LayerNorms trained, then s f unit(w)^T with w from t on",
        training="AdamW, 300 steps for each shot: 60 % through the towers, the rest on what they give",
        learned="(4 * L + 2) * W + (4 * L + 4) * Dp + K * D",
        fit="E * N * (K * G / 53 + 1.2 * I + 2 * D * K)",
        memory="270 * L * K * W + 37632 * N",
        use="Where the towers should learn the task and a classifier what texts can't say.",
        fails="Where the support has few of the classes: its classifier knows no others. Slow with many classes.",
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
        return super().trainable(task, params) + task.class_text().size

    def candidates(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        task = adapted.few(task, replicas[0].params)
        before, axes = _first(task, replicas[0].params), np.eye(task.class_text().shape[1], dtype=np.float32)
        for together, head in task.trainer().trained(self, task, replicas):
            embedded = PerQueries(partial(self._embedded, head, task.device))
            second, given = self._second(task, together, head)
            for candidate in task.trainer().train(second, given, together):
                point = {"step": before + candidate.point["step"]}
                rows = [together.index(replica) for replica in candidate.replicas]
                candidate = replace(candidate, point=point)
                if hasattr(head, "vision"):
                    classify = partial(_classified, embedded, rows, candidate.logits, axes)
                    program = partial(self._program, head, candidate.program)
                    candidate = replace(candidate, logits=classify, program=program)
                yield candidate

    def _program(self, head: Any, second: Callable[[], Program | None]) -> Program | None:
        """The second stage's behind what the first has changed, of one replica that is trained alone."""
        found, changes = second(), self.changed_tower(head)
        return replace(found, tower=changes) if found and changes else found

    def _second(self, task: Task, replicas: Sequence[Replica], head: Any) -> tuple["Second", Task]:
        """The second stage of replicas whose first one is done, with a task of what the towers have come to give."""
        import torch

        with torch.no_grad():
            texts = unit(self.texts(head))
        texts = texts.expand(len(replicas), *texts.shape[-2:])
        supports = [task.supports[replica.seed] for replica in replicas]
        if hasattr(head, "vision"):
            own = self._embedded(head, task.device, np.stack([support.x for support in supports], 1))
            supports = [Support(x.cpu().numpy(), one.y) for x, one in zip(own, supports, strict=True)]
        given = {replica.seed: support for replica, support in zip(replicas, supports, strict=True)}
        second = Second(dict(zip(replicas, zip(texts, supports, strict=True), strict=True)))
        return second, replace(task, supports=given)

    def _embedded(self, head: Any, device: str, x: Array) -> Array:
        """Unit embeddings `(R, M, D)` of rows `(M, …)`, or of each replica's own `(M, R, …)`, a few at a time."""
        import torch

        found = []
        with torch.no_grad():
            for start in range(0, len(x), SLICE):
                rows = torch.as_tensor(x[start : start + SLICE], device=device)
                found.append(self.images(head, rows if rows.dim() == 2 else rows.transpose(0, 1)))
        return torch.cat(found, -2)


class Second(TrainedMethod):
    """The second stage: `s f unit(w)^T`, with f from each replica's own support, and w from its texts on."""

    name = TwoStage.name

    def __init__(self, given: Mapping[Replica, tuple[Array, Support]]) -> None:
        self._given = given

    def recipe(self, task: Task, params: Params) -> Recipe:
        return adapted.recipe(params, max(1, adapted.steps(task, params) - _first(task, params)))

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        return [self._given[replica][1]]

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {"logit_scale": task.logit_scale, "weight": nn.Parameter(self._given[replica][0])}

    def logits(self, head: Any, x: Array) -> Array:
        return x @ (head.logit_scale * unit(head.weight)).mT


def _classified(embedded: Embedded, rows: Sequence[int], logits: Classifier, axes: Array, queries: Array) -> Array:
    """Logits of queries, from each replica's own embeddings; a linear classifier is its answers on the axes."""
    return embedded(queries)[rows] @ logits(axes)


def _first(task: Task, params: Params) -> int:
    """The steps of the first stage."""
    return max(1, round(params["share"] * adapted.steps(task, params)))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [TwoStage]
