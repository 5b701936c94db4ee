"""Compiled epochs: who trains by them, and that it is the same training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from methods import Params, Recipe, Replica, Support, Task, TrainedMethod
from methods.attention_probe import AttentionProbe
from methods.clip_adapter import ClipAdapter
from methods.linear_probe import LinearProbe
from tests.engine.heads_by_hand import make_task
from workflow.lib.engine import steps, training
from workflow.lib.engine.compiled import KINDS

METHODS: list[type[TrainedMethod]] = [LinearProbe, AttentionProbe, ClipAdapter]


def replicas(method: type[TrainedMethod], count: int = 3, **changes: Any) -> list[Replica]:
    params = method.defaults({}) | {"lr": 1e-3, "epochs": 4, "batch_size": 12} | changes
    return [Replica(str(seed), params, seed) for seed in range(count)]


def run_of(method: TrainedMethod, who: list[Replica], task: Task | None = None) -> training.Run:
    return training.Run(method, task or make_task(seeds=3), who)


def compiled(method: TrainedMethod, **changes: Any) -> bool:
    return run_of(method, replicas(type(method), **changes))._compiled is not None


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_heads_of_the_starting_study_are_compiled(method: type[TrainedMethod]) -> None:
    assert compiled(method())
    assert set(KINDS) == {one.compiled for one in METHODS}


SETTINGS: list[tuple[type[TrainedMethod], dict[str, Any]]] = [
    (LinearProbe, {"batch_norm": False}),
    (LinearProbe, {"batch_norm": False, "init": "text"}),
    (AttentionProbe, {"pre_norm": False}),
    (AttentionProbe, {"post_norm": False}),
    (AttentionProbe, {"pre_norm": False, "post_norm": False}),
    (ClipAdapter, {"recipe": "paper"}),
    (LinearProbe, {"batch_size": 0}),
]


@pytest.mark.parametrize(("method", "changes"), SETTINGS)
def test_so_are_their_other_settings(method: type[TrainedMethod], changes: dict[str, Any]) -> None:
    assert compiled(method(), **changes)


class WithRecipe(LinearProbe):
    compiled = "linear"

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def recipe(self, task: Task, params: Params) -> Recipe:
        return replace(super().recipe(task, params), **self._changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd"},
        {"label_smoothing": 0.1},
        {"mixup": 0.2},
        {"ema": 0.9},
        {"rates": {"classifier": 2.0}},
        {"every": 2},
        {"steps": 7},
        {"optimizer": "lbfgs", "batch_size": 0},
    ],
    ids=str,
)
def test_what_a_recipe_asks_for_beyond_adam_is_done_step_by_step(changes: dict[str, Any]) -> None:
    assert run_of(WithRecipe(), replicas(LinearProbe, 1))._compiled is not None
    assert run_of(WithRecipe(**changes), replicas(LinearProbe, 1))._compiled is None


def test_a_subclass_may_compute_something_else_and_is_not_compiled() -> None:
    class Scaled(LinearProbe):
        def logits(self, head: Any, x: Any) -> Any:
            return 2 * head.classifier(x)

    assert not compiled(Scaled())


def test_a_head_that_is_not_what_it_says_is_trained_step_by_step() -> None:
    class Deep(LinearProbe):
        compiled = "linear"

        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            layers = nn.BatchNorm1d(task.dim), nn.ReLU(), nn.Linear(task.dim, task.classes)
            return {"classifier": nn.Sequential(*layers)}

    class Frozen(LinearProbe):
        compiled = "linear"

        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            head = super().head(nn, task, replica)
            head["classifier"][0].requires_grad_(False)
            return head

    assert not compiled(Deep())
    assert not compiled(Frozen())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_same_bits_alone_and_in_company(method: type[TrainedMethod]) -> None:
    """Of other seeds, rates, decays and ratios."""
    ratios = [{"ratio": 0.7}] if "ratio" in method.params else []
    others = [one for change in [{"lr": 3e-3}, {"weight_decay": 0.1}, *ratios] for one in replicas(method, **change)]
    who = [*replicas(method), *others]
    together = run_of(method(), who)
    for _ in range(3):
        together.advance(together.per_epoch)
    for i in (1, len(who) - 1):
        alone = run_of(method(), [who[i]])
        for _ in range(3):
            alone.advance(alone.per_epoch)
        for name, value in alone.head.state(0).items():
            assert torch.equal(together.head.state(i)[name], value), name


def test_an_epoch_that_has_begun_goes_on_step_by_step() -> None:
    """Compiled or not, the moments and the number of the step are the same ones."""
    found = []
    for parts in ([1] * 16, [1, 1, 2, 4, 4, 4], [4, 4, 4, 4]):
        run = run_of(LinearProbe(), replicas(LinearProbe))
        assert run.per_epoch == 4
        for part in parts:
            run.advance(part)
        found.append(run.head.state(2))
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


def test_the_loss_in_the_log_is_that_of_the_steps() -> None:
    whole, step = (run_of(AttentionProbe(), replicas(AttentionProbe)) for _ in range(2))
    for _ in range(2):
        whole.advance(whole.per_epoch)
        for _ in range(step.per_epoch):
            step.advance(1)
    assert whole.loss() == pytest.approx(step.loss(), rel=1e-5)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_diverges_shows(method: type[TrainedMethod]) -> None:
    task = make_task(seeds=3)
    spoilt = task.supports[1].x.copy()
    spoilt[3, 2] = np.nan
    task.supports[1] = Support(spoilt, task.supports[1].y)
    run = run_of(method(), replicas(method), task)
    run.advance(run.per_epoch)
    logits = run.logits(task.supports[0].x)
    assert not logits[1].isfinite().any()
    assert logits[[0, 2]].isfinite().all()


@pytest.mark.parametrize("x", [0.0, -1e-6, -0.4, -1.0, -17.3, -80.0, -87.0, -1e4, -np.inf])
def test_the_exponential(x: float) -> None:
    scores = np.array([[0.0], [x]], np.float32)
    steps._softmax(scores, np.zeros(2, np.float32), np.empty(1, np.float32), np.empty(1, np.float32))
    power = np.exp(max(np.float64(np.float32(x)), -87.0))
    np.testing.assert_allclose(scores[:, 0], [1 / (1 + power), power / (1 + power)], rtol=3e-7, atol=2e-38)
