"""APE: Tip-Adapter on chosen channels, with votes weighted by what zero-shot gets wrong."""

from collections.abc import Callable
from itertools import combinations
from math import exp, log, log2
from statistics import variance

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
    """The text of a class is one more sample of it."""
    easy = easy_of(counts=counts)
    text = easy.task.class_text()
    samples = np.concatenate([easy.support.x, text])
    labels = [*easy.support.y, *range(len(counts))]
    pairs = [(i, j) for i, j in combinations(range(len(labels)), 2) if labels[i] != labels[j]]
    expected = np.mean([samples[i] * samples[j] for i, j in pairs], axis=0)
    assert between_classes(easy.support, text) == pytest.approx(expected, abs=1e-6)


def test_channels_that_tell_classes_apart_are_kept() -> None:
    """Channel 0 is the same for all, channel 1 differs between the classes in image and text, channel 2 in neither."""
    x = np.array([[0.9, 0.4, 0], [0.9, 0.4, 0], [0.9, -0.4, 0], [0.9, -0.4, 0]], np.float32)
    text = np.array([[0.9, 0.4, 0], [0.9, -0.4, 0]], np.float32)
    support = Support(x, np.array([0, 0, 1, 1]))
    assert kept(support, text, {"w0": 0.5, "w1": 0.5, "channels": 0.34}).tolist() == [1]
    assert kept(support, text, {"w0": 0.5, "w1": 0.5, "channels": 0.67}).tolist() == [1, 2]


def test_channels_are_kept_by_the_weighed_difference_of_variance_and_similarity(easy_of: Callable[..., Easy]) -> None:
    """Half of them, those with the largest w1 var(T) - w0 S."""
    easy = easy_of(counts=(3, 3, 3), text_noise=2.0)
    text = easy.task.class_text()
    alike, found = between_classes(easy.support, text), set()
    for w0, w1 in ((0.5, 0.5), (0.1, 0.9), (0.95, 0.05)):
        score = [w1 * variance(map(float, column)) - w0 * s for column, s in zip(text.T, alike, strict=True)]
        best = sorted(sorted(range(len(score)), key=lambda i: -score[i])[: len(score) // 2])
        assert kept(easy.support, text, {"w0": w0, "w1": w1, "channels": 0.5}).tolist() == best
        found.add(tuple(best))
    assert len(found) == 3


def test_divergence_from_zero_shot_is_the_negative_log_probability_of_the_own_label() -> None:
    found = own_surprise(np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 300.0]], np.float32), np.array([0, 1, 0]))
    assert found == pytest.approx([-log(exp(2) / (exp(2) + 1)), log(2), 300.0])


def published(support: Support, text: np.ndarray, channels: np.ndarray, i: int) -> float:
    """KL of image i's one-hot label from the softmax of cosines on the kept channels, in bits, class by class."""
    cosines = np.array([float(unit(support.x[i, channels]) @ unit(one[channels])) for one in text])
    share = np.exp(cosines) / np.exp(cosines).sum()
    label = np.eye(len(text))[support.y[i]]
    return float(sum(p * log2((p + 1e-6) / (q + 1e-6)) for p, q in zip(label, share, strict=True)))


def ours(support: Support, text: np.ndarray, scale: float, i: int) -> float:
    """The same of scaled cosines on all channels, in nats."""
    own = np.exp(scale * support.x[i] @ text.T)
    return -log(own[support.y[i]] / own.sum())


@pytest.mark.parametrize("divergence", ["paper", "scaled"])
def test_it_is_the_published_formula_image_by_image(easy: Easy, divergence: str) -> None:
    support, text = easy.support, easy.task.class_text()
    logits = easy.logits(Ape, alpha=1.5, beta=3.0, gamma=0.7, channels=0.5, divergence=divergence)
    channels = kept(support, text, {"w0": 0.5, "w1": 0.5, "channels": 0.5})
    assert len(channels) == 4
    for query, row in zip(easy.queries, logits, strict=True):
        expected = [easy.task.logit_scale * float(query @ one) for one in text]
        for i, (image, label) in enumerate(zip(support.x, support.y, strict=True)):
            far = published(support, text, channels, i)
            surprise = far if divergence == "paper" else ours(support, text, easy.task.logit_scale, i)
            cosine = float(unit(query[channels]) @ unit(image[channels]))
            expected[label] += 1.5 * exp(-3.0 * (1 - cosine)) * exp(0.7 * surprise)
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
    assert np.isfinite(task.logits(Ape, gamma=1.0)).all()
    assert np.isfinite(task.logits(Ape, gamma=1.0, divergence="scaled")).all()


def test_gamma_goes_to_one() -> None:
    assert Ape.params["gamma"].high == max(Ape.grid["gamma"]) == 1
