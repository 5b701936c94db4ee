"""What the benchmark holds our methods against gives the same answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import plain
from benchmarks.cached import CLOSED
from methods import Method, Support
from methods.calip import Calip
from methods.knn import NearestNeighbours
from methods.lfa import SHARES, LinearAlignment, chosen_share
from tests.methods.conftest import Easy


def with_tokens(easy: Easy) -> Easy:
    """Beside each image two numbers of each class."""

    def beside(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        added = np.random.default_rng(len(x)).normal(size=(len(x), 2 * easy.task.classes))
        return np.concatenate([x, added], axis=1, dtype=np.float32)

    support = Support(beside(easy.support.x), easy.support.y)
    return Easy(replace(easy.task, supports={0: support}), beside(easy.queries), easy.labels)


@pytest.mark.parametrize("method", CLOSED, ids=lambda method: method.name)
def test_the_answers_are_the_same(method: type[Method], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[6] * 5)
    easy = with_tokens(easy) if method is Calip else easy
    found, expected = easy.logits(method, **CLOSED[method]), plain.ANSWERS[method.name](easy.task, easy.queries)
    if method is NearestNeighbours:  # votes there, their logarithm with a preference among equals here
        found, expected = np.round(np.exp(found)), 5 * expected
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_the_loop_of_lfa_learns_the_same_map(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[6] * 5, noise=1.5)
    moved = torch.from_numpy(easy.queries) @ plain.lfa_steps(easy.task, 20)
    expected = torch.cosine_similarity(moved[:, None], torch.from_numpy(easy.task.class_text())[None], dim=2)
    found = easy.logits(LinearAlignment, b=1.0, epochs=20) / easy.task.logit_scale
    assert found == pytest.approx(expected.numpy(), abs=1e-4)
    assert found != pytest.approx(easy.zero_shot / easy.task.logit_scale, abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
def test_the_share_of_lfa_is_the_largest_that_is_right_most_often(seed: int, easy_of: Callable[..., Easy]) -> None:
    """In as many dimensions as classes: there the rotation is the only one."""
    easy = easy_of(counts=[6] * 8, noise=1.2, text_noise=2.5)
    text = easy.task.class_text()
    right = [plain.lfa_share(easy.task, share, np.random.default_rng(seed)) for share in SHARES]
    best = SHARES[np.array(right) >= max(right) - 1e-9]
    assert chosen_share(easy.support, text, np.random.default_rng(seed)) == best[-1]
    assert min(right) < max(right)
