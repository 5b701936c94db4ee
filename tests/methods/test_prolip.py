"""ProLIP: the last projection, trained from where the model has it and held to it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from methods import Projection, Replica, Support, unit
from methods.contract.base import Floats
from methods.prolip import ProLIP
from tests.methods.by_hand import cosine, descend
from tests.methods.conftest import Easy

MORE = 4  # dimensions before the projection than after it


def before(easy: Easy) -> Easy:
    """The problem as a model gives it that has more dimensions before its last projection, which has a bias."""
    rng = np.random.default_rng(3)
    width = easy.task.dim + MORE
    weight, _ = np.linalg.qr(rng.normal(size=(width, easy.task.dim)))
    rest = rng.normal(size=(width, width)) @ (np.eye(width) - weight @ weight.T)
    bias = 0.3 * rng.normal(size=easy.task.dim)

    def pre(x: Floats) -> Floats:
        lost = rng.normal(size=(len(x), width)) @ rest  # what the projection does not let through
        return np.float32((7 * x - bias) @ weight.T + lost)

    supports = {seed: Support(pre(one.x), one.y) for seed, one in easy.task.supports.items()}
    layer = Projection(weight.astype(np.float32), bias.astype(np.float32))
    return Easy(replace(easy.task, supports=supports, projection=layer), pre(easy.queries), easy.labels)


def embedded(easy: Easy) -> Floats:
    """`s f T^T` of the queries with the model's own projection."""
    weight, bias = easy.task.last_layer()
    return easy.task.logit_scale * unit(easy.queries @ weight + bias) @ easy.task.class_text().T


def test_the_made_problem_is_the_one_that_it_was_made_of(easy: Easy) -> None:
    assert embedded(before(easy)) == pytest.approx(easy.zero_shot, abs=1e-4)


def test_before_it_has_learned_anything_it_is_zero_shot(easy: Easy) -> None:
    assert before(easy).logits(ProLIP, lr=1e-12, epochs=1) == pytest.approx(easy.zero_shot, abs=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], lam: float, easy_of: Callable[..., Easy]) -> None:
    """Adam with its eps, half a cosine, the whole support in each step; the bias stays as it is."""
    easy = before(easy_of(counts=counts, noise=1.5, text_noise=3.0))
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    start, bias = map(torch.from_numpy, easy.task.last_layer())
    weight = start.clone().requires_grad_()

    def logits(queries: torch.Tensor) -> torch.Tensor:
        moved = (queries @ weight + bias)[:, None]
        return easy.task.logit_scale * torch.cosine_similarity(moved, text[None], dim=2)

    optimizer = torch.optim.Adam([weight], eps=1e-4)
    descend(optimizer, cosine(0.02, 12), logits, x, y, lambda: lam * (weight - start).norm() ** 2)
    found = easy.logits(ProLIP, lr=0.02, epochs=12, **{"lambda": lam})
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(embedded(easy), abs=0.1)


def test_with_a_heavy_penalty_it_is_zero_shot(easy_of: Callable[..., Easy]) -> None:
    easy = before(easy_of(noise=1.5, text_noise=3.0))
    found = easy.logits(ProLIP, lr=1e-3, **{"lambda": 1e6})
    assert found == pytest.approx(embedded(easy), abs=0.02)
    assert easy.logits(ProLIP, lr=1e-3, **{"lambda": 0.0}) != pytest.approx(embedded(easy), abs=0.5)


def test_without_its_weights_it_is_zero_shot(easy: Easy) -> None:
    assert before(easy).logits(ProLIP, lr=0.01, wise=0.0, epochs=5) == pytest.approx(easy.zero_shot, abs=1e-4)


def test_it_needs_what_comes_before_the_projection() -> None:
    params = ProLIP.defaults({})
    assert ProLIP().needs(params) == {"image", "text", "pre"}
    assert ProLIP().needs(params | {"views": True}) == {"image", "text", "pre", "views"}


def test_seeds_and_penalties_train_side_by_side(easy_of: Callable[..., Easy]) -> None:
    easy, said = before(easy_of(seeds=2)), list[str]()
    sweep = [
        Replica(f"lambda={lam}", ProLIP.defaults({}) | {"lambda": lam, "epochs": 2}, seed)
        for lam in (0.0, 1.0)
        for seed in range(2)
    ]
    candidates = list(ProLIP().fit(replace(easy.task, log=said.append), sweep))
    assert [len(candidate.replicas) for candidate in candidates] == [4, 4]
    assert any("4 trainings side by side" in line for line in said)
