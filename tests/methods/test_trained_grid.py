"""A trained method with a grid: every point is trained to its end, all side by side, the configured one last."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods import Array, Param, Replica, Task, TrainedMethod, training
from methods.contract.recipe import WISE
from methods.linear_probe import LinearProbe
from tests.methods.conftest import Easy


class Gridded(TrainedMethod):
    """A linear head that starts at the texts, with a pull towards zero."""

    name = "gridded"
    params = {
        "pull": Param(0.1, "weight of the squares", low=0),
        "wise": WISE,
        **training(lr=0.1, epochs=5, batch_size=0),
    }
    alike = ("pull",)
    blends = "wise"
    grid = {"lr": [0.01, 0.1], "pull": [0.0, 1.0], "wise": [0.5, 1.0]}

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        weight = nn.Parameter(torch.tensor(task.class_text()))
        return {"weight": weight, "pull": np.float32(replica.params["pull"]), "scale": task.logit_scale}

    def logits(self, head: Any, x: Array) -> Array:
        return head.scale * (x @ head.weight.mT)

    def penalty(self, head: Any) -> Array:
        return head.pull * head.weight.square().sum((1, 2))


class Bent(Gridded):
    """One that is not linear in the image, and has to be written down as what it is."""

    name = "bent"

    def logits(self, head: Any, x: Array) -> Array:
        return head.scale * (x @ head.weight.mT).tanh()


def test_without_a_choice_every_epoch_of_the_configured_one_is_a_candidate(easy: Easy) -> None:
    assert [point for point, _ in easy.points(Gridded)] == [{"epoch": epoch} for epoch in range(1, 6)]


def test_with_a_choice_each_point_is_there_once_as_if_it_were_configured(easy_of: Callable[..., Easy]) -> None:
    plain, choosing = easy_of(noise=1.5), easy_of(noise=1.5, choosing=True)
    points = choosing.points(Gridded, pull=0.3)
    assert len(points) == 2 * 2 * 2 + 1
    assert len({tuple(point.items()) for point, _ in points}) == 9
    for point, logits in points:
        assert logits == pytest.approx(plain.logits(Gridded, **point), abs=1e-4)
    assert points[-1][0] == {"lr": 0.1, "pull": 0.3, "wise": 1.0}


def test_a_candidate_has_all_seeds_and_a_sweep_over_the_grid_costs_no_training(easy_of: Callable[..., Easy]) -> None:
    easy, said = easy_of(seeds=3, choosing=True), list[str]()
    replicas = [Replica("-", Gridded.defaults({}), seed) for seed in range(3)]
    found = list(Gridded().fit(replace(easy.task, log=said.append), replicas))
    assert [len(candidate.replicas) for candidate in found] == [3] * 9
    assert [line for line in said if "side by side" in line] == [
        f"gridded: {count} trainings side by side, on cpu" for count in (2 * 2 * 3, 3)
    ]


def test_a_sweep_over_what_can_t_be_side_by_side_is_a_training_each(easy_of: Callable[..., Easy]) -> None:
    """Batches of other sizes, and more epochs; seeds and rates stay side by side."""
    easy, said = easy_of(seeds=2, noise=1.5), list[str]()
    sweep = [
        Replica(f"{size}-{epochs}-{lr}", Gridded.defaults({}) | {"batch_size": size, "epochs": epochs, "lr": lr}, seed)
        for size, epochs, lr in ((0, 2, 0.1), (5, 2, 0.1), (5, 2, 0.2), (5, 3, 0.1))
        for seed in range(2)
    ]
    found: dict[Replica, Any] = {}
    for candidate in Gridded().fit(replace(easy.task, log=said.append), sweep):
        found |= dict(zip(candidate.replicas, np.asarray(candidate.logits(easy.queries)).copy(), strict=True))
    for one in sweep:
        assert found[one] == pytest.approx(easy.logits(Gridded, seed=one.seed, **one.params), abs=1e-4)
    counts = [int(line.split(": ")[1].split()[0]) for line in said if "side by side" in line]
    assert sorted(counts) == [2, 2, 4]


@pytest.mark.parametrize("method", [Gridded, Bent])
@pytest.mark.parametrize("point", [{"lr": 0.01, "pull": 1.0, "wise": 0.5}, None])
def test_what_is_shipped_at_a_point_is_its_classifier_trained_there_alone(
    point: dict[str, float] | None, method: type[Gridded], easy_of: Callable[..., Easy]
) -> None:
    easy, said = easy_of(choosing=True, noise=1.5), list[str]()
    program = method().export(replace(easy.task, log=said.append), Replica("-", method.defaults({}), 0), point)
    expected = easy_of(noise=1.5).logits(method, **(point or {}))
    assert program(easy.queries) == pytest.approx(expected, abs=1e-3)
    assert [line.split(",")[0] for line in said if "side by side" in line] == [
        f"{method.name}: 1 trainings side by side"
    ]


def test_how_many_trainings_a_replica_is() -> None:
    assert (Gridded.points(choosing=True), Gridded.points(choosing=False)) == (9, 1)
    assert LinearProbe.points(choosing=True) == 1
