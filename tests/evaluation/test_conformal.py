"""Prediction sets against crepes and by their definition; the level that they promise, in draws from one law."""

import itertools

import numpy as np
import pytest
from crepes import ConformalClassifier
from crepes.extras import hinge
from scipy import stats

from tests.evaluation.logits import drawn
from workflow.lib.evaluation import conformal, scoring

N_AND_LEVEL = [
    (47, 0.9),
    (101, 0.95),
    (58, 0.8),
]  # (n + 1) · (1 - level) is no whole number: crepes' p ≥ and our p > agree


def probabilities(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = drawn(images, seed=seed)
    return np.exp(scoring.log_softmax(logits)), labels


@pytest.mark.parametrize(("images", "level"), N_AND_LEVEL)
@pytest.mark.parametrize("seed", range(3))
def test_marginal_sets_are_those_of_crepes(images: int, level: float, seed: int) -> None:
    held, own = probabilities(images, seed)
    asked, _ = probabilities(200, 100 + seed)
    ours = conformal.sets(asked, conformal.marginal(held, own, level))
    theirs = ConformalClassifier().fit(hinge(held, np.arange(5), own))
    expected = theirs.predict_set(hinge(asked), confidence=level, smoothing=False)
    assert (ours == expected).all()


@pytest.mark.parametrize("seed", range(3))
def test_class_conditional_sets_are_those_of_crepes(seed: int) -> None:
    held, own = probabilities(211, seed)
    level = 0.8713  # never a whole number
    asked, _ = probabilities(200, 100 + seed)
    ours = conformal.sets(asked, conformal.mondrian(held, own, level))
    theirs = ConformalClassifier().fit(hinge(held, np.arange(5), own), bins=own)
    for k in range(5):
        bins = np.full(200, k)
        expected = theirs.predict_set(hinge(asked), bins=bins, confidence=level, smoothing=False)
        assert (ours[:, k] == expected[:, k]).all()


@pytest.mark.parametrize("images", range(1, 40))
def test_the_threshold_is_the_smallest_that_keeps_the_level(images: int) -> None:
    """By exchangeability a new score is at most the k-th of n with a chance of k / (n + 1)."""
    scores = np.random.default_rng(images).random(images)
    for level in (0.5, 0.8, 0.9, 0.95):
        enough = [k for k in range(1, images + 1) if k / (images + 1) >= level - 1e-12]
        expected = np.sort(scores)[enough[0] - 1] if enough else np.inf
        assert conformal.quantile(scores, level) == expected


@pytest.mark.parametrize("images", [100, 1000, 5000])
def test_the_threshold_of_many_images_is_found_in_every_order_of_them(images: int) -> None:
    """1 to n in an order drawn anew: the k-th smallest is k, ⌈(n + 1) · level⌉."""
    rng = np.random.default_rng(images)
    for _ in range(200):
        assert conformal.quantile(1.0 + rng.permutation(images), 0.9) == np.ceil((images + 1) * 0.9)


def test_too_few_images_put_every_class_into_every_set() -> None:
    held, own = probabilities(8, 0)
    found = conformal.sets(held, conformal.marginal(held, own, 0.9))
    assert found.all()
    assert conformal.set_size(found) == 5
    assert np.isfinite(conformal.marginal(*probabilities(9, 0), 0.9)).all()


def test_a_class_without_images_is_in_every_class_conditional_set() -> None:
    held, own = probabilities(200, 0)
    own = np.minimum(own, 3)
    found = conformal.sets(held, conformal.mondrian(held, own, 0.9))
    assert found[:, 4].all()
    assert not found[:, 0].all()


def test_coverage_keeps_its_level_and_stays_in_its_band() -> None:
    """400 draws of 60 images that calibrate and 150 that are asked about, as one law makes them."""
    level, draws, n, m = 0.9, 400, 60, 150
    found = []
    for seed in range(draws):
        probability, labels = probabilities(n + m, seed)
        thresholds = conformal.marginal(probability[:n], labels[:n], level)
        found.append(conformal.coverage(conformal.sets(probability[n:], thresholds), labels[n:]))
    low, high = conformal.band([(n, m)], level)
    k = conformal.rank(n, level)
    spread = stats.betabinom(m, k, n + 1 - k).std() / m / draws**0.5
    assert abs(np.mean(found) - k / (n + 1)) < 4 * spread
    inside = np.mean([low <= one <= high for one in found])
    assert 0.92 < inside < 0.99


def test_class_conditional_sets_keep_the_level_in_a_class_that_is_hard() -> None:
    """Where one class is much harder than the others, marginal sets miss it, and class-conditional ones don't."""
    marginal, mondrian = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        labels = rng.integers(3, size=900)
        logits = rng.normal(size=(900, 3))
        logits[np.arange(900), labels] += np.where(labels == 0, 0.0, 4.0)
        probability = np.exp(scoring.log_softmax(logits))
        hard = labels[300:] == 0
        for thresholds, kept in ((conformal.marginal, marginal), (conformal.mondrian, mondrian)):
            found = conformal.sets(probability[300:], thresholds(probability[:300], labels[:300], 0.9))
            kept.append(conformal.coverage(found[hard], labels[300:][hard]))
    assert np.mean(marginal) < 0.8
    assert 0.89 < np.mean(mondrian) < 0.93


@pytest.mark.parametrize(("n", "m", "level"), [(9, 20, 0.9), (60, 150, 0.9), (500, 37, 0.95), (3000, 5000, 0.8)])
def test_the_band_of_one_part_is_the_beta_binomials(n: int, m: int, level: float) -> None:
    k = conformal.rank(n, level)
    law = stats.betabinom(m, k, n + 1 - k)
    assert conformal.band([(n, m)], level) == pytest.approx((law.ppf(0.025) / m, law.ppf(0.975) / m))


def test_the_band_of_two_parts_counts_every_way_to_get_there() -> None:
    parts, level = [(9, 6), (25, 4)], 0.8
    laws = [stats.betabinom(m, conformal.rank(n, level), n + 1 - conformal.rank(n, level)) for n, m in parts]
    chances = np.zeros(11)
    for i, j in itertools.product(range(7), range(5)):
        chances[i + j] += laws[0].pmf(i) * laws[1].pmf(j)
    low, high = (int(np.argmax(chances.cumsum() >= at)) for at in (0.025, 0.975))
    assert conformal.band(parts, level) == pytest.approx((low / 10, high / 10))


def test_the_band_of_sets_that_hold_everything_is_one() -> None:
    assert conformal.band([(3, 50)], 0.9) == (1.0, 1.0)
    assert conformal.band([], 0.9) == (0.0, 1.0)
