"""CALIP: what the tokens of an image add to zero-shot, as the extraction has written it."""

from dataclasses import replace

import numpy as np
import pytest

from methods import Support
from methods.calip import Calip
from tests.methods.conftest import Easy


@pytest.fixture
def tokens(easy: Easy) -> Easy:
    """The easy problem with two more numbers of each image and class."""
    rng = np.random.default_rng(2)

    def beside(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, rng.normal(size=(len(x), 6)).astype(np.float32)], axis=1)

    supports = {seed: Support(beside(one.x), one.y) for seed, one in easy.task.supports.items()}
    return Easy(replace(easy.task, supports=supports), beside(easy.queries), easy.labels)


def test_it_adds_both_parts_with_their_weights(tokens: Easy, easy: Easy) -> None:
    found = tokens.logits(Calip, beta2=0.7, beta3=0.3)
    for i, row in enumerate(tokens.queries):
        for k in range(3):
            expected = easy.zero_shot[i, k] + 0.7 * row[8 + k] + 0.3 * row[8 + 3 + k]
            assert found[i, k] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_without_both_it_is_zero_shot(tokens: Easy, easy: Easy) -> None:
    assert tokens.logits(Calip, beta2=0.0, beta3=0.0) == pytest.approx(easy.zero_shot, rel=1e-6)


def test_zero_shot_is_in_the_grid(tokens: Easy, easy: Easy) -> None:
    choosing = Easy(replace(tokens.task, choosing=True), tokens.queries, tokens.labels)
    points = choosing.points(Calip)
    assert (len(points), points[0][0]) == (21 * 11 + 1, {"beta2": 0.0, "beta3": 0.0})
    assert points[0][1] == pytest.approx(easy.zero_shot, rel=1e-6)
