"""APE: Tip-Adapter on chosen channels, with votes weighted by what zero-shot gets wrong."""

from collections.abc import Callable
from itertools import combinations
from math import exp, log

import numpy as np
import pytest

from methods import Support, unit
from methods.ape import AdaptivePriorRefinement as Ape
from methods.ape import between_classes, kept, own_surprise
from methods.tip_adapter import TipAdapter
from tests.methods.conftest import Easy


@pytest.mark.parametrize("counts", [(3, 3, 3), (1, 1, 1), (5, 1, 2), (2, 3)])
def test_similarity_between_classes_is_the_mean_over_pairs(
    counts: tuple[int, ...], easy_of: Callable[..., Easy]
) -> None:
    support = easy_of(counts=counts).support
    pairs = [(i, j) for i, j in combinations(range(len(support.y)), 2) if support.y[i] != support.y[j]]
    expected = np.mean([support.x[i] * support.x[j] for i, j in pairs], axis=0)
    assert between_classes(support, len(counts)) == pytest.approx(expected, abs=1e-6)


def test_channels_that_tell_classes_apart_are_kept() -> None:
    """Channel 0 is the same for all, channel 1 differs between the classes in image and text, channel 2 in neither."""
    x = np.array([[0.9, 0.4, 0], [0.9, 0.4, 0], [0.9, -0.4, 0], [0.9, -0.4, 0]], np.float32)
    text = np.array([[0.9, 0.4, 0], [0.9, -0.4, 0]], np.float32)
    support = Support(x, np.array([0, 0, 1, 1]))
    assert kept(support, text, {"w0": 0.5, "w1": 0.5, "channels": 0.34}).tolist() == [1]
    assert kept(support, text, {"w0": 0.5, "w1": 0.5, "channels": 0.67}).tolist() == [1, 2]


def test_divergence_from_zero_shot_is_the_negative_log_probability_of_the_own_label() -> None:
    found = own_surprise(np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 300.0]], np.float32), np.array([0, 1, 0]))
    assert found == pytest.approx([-log(exp(2) / (exp(2) + 1)), log(2), 300.0])


def test_it_is_the_published_formula_image_by_image(easy: Easy) -> None:
    support, text = easy.support, easy.task.class_text()
    logits = easy.logits(Ape, alpha=1.5, beta=3.0, gamma=0.2, channels=0.5)
    channels = kept(support, text, {"w0": 0.5, "w1": 0.5, "channels": 0.5})
    assert len(channels) == 4
    for query, row in zip(easy.queries, logits, strict=True):
        expected = [easy.task.logit_scale * float(query @ one) for one in text]
        for image, label in zip(support.x, support.y, strict=True):
            own = np.exp(easy.task.logit_scale * image @ text.T)
            surprise = -log(own[label] / own.sum())
            cosine = float(unit(query[channels]) @ unit(image[channels]))
            expected[label] += 1.5 * exp(-3.0 * (1 - cosine)) * exp(0.2 * surprise)
        assert row == pytest.approx(expected, rel=1e-4)


def test_with_all_channels_and_no_gamma_it_is_tip_adapter(easy: Easy) -> None:
    ape = easy.logits(Ape, channels=1.0, gamma=0.0, alpha=2.0, beta=4.0)
    assert ape == pytest.approx(easy.logits(TipAdapter, alpha=2.0, beta=4.0), rel=1e-5)


def test_without_weight_the_cache_is_not_heard(easy: Easy) -> None:
    assert np.array_equal(easy.logits(Ape, alpha=0.0), easy.zero_shot)


def test_it_stays_finite_where_zero_shot_is_sure_and_wrong(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(scale=100.0)
    wrong = easy.permuted([1, 2, 0])
    task = Easy(wrong.task, easy.queries, easy.labels)
    assert np.isfinite(task.logits(Ape, gamma=0.4)).all()
