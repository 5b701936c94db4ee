"""`wise`: weights between the class texts, where a head starts, and what it has learned; a sweep is one training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods import Replica, TrainedMethod, unit
from methods.clap import Clap
from methods.cross_modal import CrossModal
from methods.linear_probe import LinearProbe
from methods.taskres import TaskResidual
from tests.methods.conftest import Easy
from workflow.lib.engine.training import Run

LINEAR: list[tuple[type[TrainedMethod], dict[str, Any]]] = [
    (LinearProbe, {"init": "text", "lr": 0.1, "epochs": 4}),
    (CrossModal, {"lr": 0.05, "steps": 20, "warmup": 0}),
]
COSINE: list[tuple[type[TrainedMethod], dict[str, Any]]] = [
    (Clap, {"lr": 0.5, "epochs": 4, "warmup_lr": 0.1}),
    (TaskResidual, {"lr": 0.1, "epochs": 4}),
]
SHARES = [0.0, 0.25, 0.5, 1.0]


@pytest.mark.parametrize(("method", "settings"), LINEAR + COSINE)
def test_at_zero_it_is_zero_shot_and_at_one_what_was_trained(
    method: type[TrainedMethod], settings: dict[str, Any], easy_of: Callable[..., Easy]
) -> None:
    easy = easy_of(noise=1.5, text_noise=2.0)
    assert easy.logits(method, wise=0.0, **settings) == pytest.approx(easy.zero_shot, abs=1e-4)
    trained = easy.logits(method, **settings)
    assert np.array_equal(easy.logits(method, wise=1.0, **settings), trained)
    assert trained != pytest.approx(easy.zero_shot, abs=0.1)


@pytest.mark.parametrize(("method", "settings"), LINEAR)
def test_logits_that_are_linear_in_the_weights_are_mixed_as_they_are(
    method: type[TrainedMethod], settings: dict[str, Any], easy: Easy
) -> None:
    whole = easy.logits(method, **settings)
    for share in SHARES:
        expected = (1 - share) * easy.zero_shot + share * whole
        assert easy.logits(method, wise=share, **settings) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_of_a_cosine_head_the_weights_are_mixed_not_the_logits(share: float, easy_of: Callable[..., Easy]) -> None:
    easy, settings = easy_of(noise=1.5, text_noise=2.0), COSINE[0][1]
    run = Run(Clap(), easy.task, [Replica("-", Clap.defaults({}) | settings, 0)])
    for _ in range(4):
        run.advance(run.per_epoch)
    learned = run.head.state(0)["weight"].detach().numpy()
    weight = unit((1 - share) * easy.text_of(0.0) + share * learned)
    found = easy.logits(Clap, wise=share, **settings)
    assert found == pytest.approx(easy.task.logit_scale * easy.queries @ weight.T, abs=1e-3)
    mixed = (1 - share) * easy.zero_shot + share * easy.logits(Clap, **settings)
    assert found != pytest.approx(mixed, abs=1e-3)


@pytest.mark.parametrize(("method", "settings"), LINEAR + COSINE)
def test_a_sweep_with_every_seed_is_one_training_a_seed(
    method: type[TrainedMethod], settings: dict[str, Any], easy_of: Callable[..., Easy]
) -> None:
    easy, said = easy_of(seeds=2, noise=1.5), list[str]()
    sweep = [
        Replica(f"wise={share}", method.defaults(settings) | settings | {"wise": share}, seed)
        for share in SHARES
        for seed in range(2)
    ]
    found = {}
    for candidate in method().fit(replace(easy.task, log=said.append), sweep):
        logits = np.asarray(candidate.logits(easy.queries))
        found |= {one: logits[row].copy() for row, one in enumerate(candidate.replicas)}
    assert any("2 trainings side by side" in line for line in said)
    assert set(found) == set(sweep)
    for one in sweep:
        alone = easy.logits(method, seed=one.seed, **settings, wise=one.params["wise"])
        assert found[one] == pytest.approx(alone, abs=1e-4)


def test_a_sweep_of_another_parameter_beside_it_is_trained_for_itself(easy: Easy) -> None:
    said = list[str]()
    sweep = [
        Replica("-", Clap.defaults({}) | {"epochs": 2, "wise": share, "lr": lr}, 0)
        for lr in (0.1, 0.2)
        for share in SHARES
    ]
    for candidate in Clap().fit(replace(easy.task, log=said.append), sweep[:-1]):
        assert len(candidate.replicas) == len(sweep) - 1  # one of the trainings stands for fewer
        assert candidate.logits(easy.queries).shape == (7, 30, 3)
    assert any("2 trainings side by side" in line for line in said)
