"""GDA: Gaussian discriminant analysis beside zero-shot."""

from collections.abc import Callable

import numpy as np
import pytest

from methods import Support
from methods.gda import ONE_IMAGE, GaussianDiscriminant, discriminant, shrunk
from tests.methods.conftest import Easy, cone


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 6, 2), (2, 2)])
def test_it_is_the_published_formula(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """NumPy's own covariance and pseudo-inverse, and a loop over the classes."""
    easy = easy_of(counts=counts)
    x, y, classes, dim = easy.support.x.astype(float), easy.support.y, len(counts), 8
    means = [x[y == k].mean(0) for k in range(classes)]
    cov = np.cov(np.stack([row - means[label] for row, label in zip(x, y, strict=True)]).T)
    precision = dim * np.linalg.pinv((len(x) - 1) * cov + np.trace(cov) * np.eye(dim))
    expected = easy.zero_shot.astype(float)
    for k, mean in enumerate(means):
        bias = np.log(1 / classes) - mean @ precision @ mean / 2
        expected[:, k] += 0.7 * (easy.queries @ precision @ mean + bias)
    assert easy.logits(GaussianDiscriminant, alpha=0.7, recipe="paper") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 6, 2), (2, 2), (30, 30, 30)])
def test_our_estimate_by_its_parts(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """The covariance as a mean of the scatter's and of D images' worth of an even spread; the log density by class."""
    easy = easy_of(counts=counts)
    x, y, classes, dim = easy.support.x.astype(float), easy.support.y, len(counts), 8
    means = np.array([x[y == k].mean(0) for k in range(classes)])
    freedom = len(x) - classes
    within = sum(np.outer(row - means[k], row - means[k]) for row, k in zip(x, y, strict=True)) / freedom
    even = np.trace(within) / dim * np.eye(dim)
    precision = np.linalg.inv((freedom * within + dim * even) / (freedom + dim))
    centre = means.mean(0)
    spread = sum((mean - centre) @ (mean - centre) for mean in means) / (classes - 1)
    sure = max(0.0, 1 - np.mean([np.trace(within) / count for count in counts]) / spread)
    expected = easy.zero_shot.astype(float)
    for k, mean in enumerate(means):
        off = easy.queries - (centre + sure * (mean - centre))
        density = -((off @ precision) * off).sum(1) / 2
        expected[:, k] += 0.7 * sure * (1 - classes / len(x)) * density
    found = easy.logits(GaussianDiscriminant, alpha=0.7)
    # What all classes share, the density of f itself, is not in the linear form.
    assert found - found.mean(1, keepdims=True) == pytest.approx(
        expected - expected.mean(1, keepdims=True), rel=1e-3, abs=1e-3
    )


def test_our_estimate_tends_to_the_true_discriminant_and_the_papers_to_nothing() -> None:
    """Of 20 000 images of a known Gaussian: Σ⁻¹ itself, and all of α."""
    rng = np.random.default_rng(3)
    root, means = np.eye(5) + rng.normal(size=(5, 5)) / 5, rng.normal(size=(4, 5))
    y = np.repeat(np.arange(4), 5000)
    support = Support((means[y] + rng.normal(size=(len(y), 5)) @ root).astype(np.float32), y)
    weight, _, share = shrunk(support, 4, np.full(4, 5000.0))
    assert share == pytest.approx(1, abs=0.01)
    assert weight == pytest.approx(means @ np.linalg.inv(root.T @ root), rel=0.05, abs=0.05)
    published, _ = discriminant(support, 4)
    assert np.abs(published).max() < 0.01 * np.abs(weight).max()


@pytest.mark.parametrize("count", [2, 3, 10, 60])
def test_our_estimate_does_no_harm_to_a_good_text(count: int) -> None:
    """The noise is not even, and zero-shot right nine times in ten. The paper's loses to it at two shots."""
    easy = cone(count)
    right = (easy.zero_shot.argmax(1) == easy.labels).mean()
    assert 0.85 < right < 0.95
    assert easy.accuracy(GaussianDiscriminant) > right - 0.005
    if count == 2:
        assert easy.accuracy(GaussianDiscriminant, recipe="paper") < right - 0.02


def test_our_estimate_gains_from_more_images_where_the_papers_falls_back() -> None:
    few, many = (cone(count, noise=1.4, text_noise=0.9) for count in (10, 400))
    assert many.accuracy(GaussianDiscriminant) > few.accuracy(GaussianDiscriminant) + 0.01
    assert many.accuracy(GaussianDiscriminant, recipe="paper") < many.accuracy(GaussianDiscriminant) - 0.02


def test_classes_of_the_same_round_shape_give_the_nearest_mean() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4, 6))
    around = np.concatenate([np.eye(6), -np.eye(6)]) / 10
    support = Support((means[:, None] + around).reshape(-1, 6).astype(np.float32), np.repeat(np.arange(4), len(around)))
    weight, bias = discriminant(support, 4)
    queries = rng.normal(size=(200, 6))
    nearest = np.linalg.norm(queries[:, None] - means, axis=2).argmin(1)
    assert np.array_equal((queries @ weight.T + bias).argmax(1), nearest)


def test_without_weight_the_discriminant_is_not_heard(easy: Easy) -> None:
    assert np.array_equal(easy.logits(GaussianDiscriminant, alpha=0.0), easy.zero_shot)


def test_with_one_image_of_each_class_it_equals_zero_shot_and_says_so(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(1, 1, 1), choosing=True)
    assert all(np.array_equal(logits, easy.zero_shot) for _, logits in easy.points(GaussianDiscriminant))
    assert set(easy.notes(GaussianDiscriminant)) == {ONE_IMAGE}


def test_one_class_with_two_images_is_enough(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(1, 2, 1), noise=0.2)
    assert not np.allclose(easy.logits(GaussianDiscriminant), easy.zero_shot)
    assert easy.notes(GaussianDiscriminant) == [""]


def test_where_the_text_is_wrong_the_images_win(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=20.0)
    assert (easy.zero_shot.argmax(1) == easy.labels).mean() < 0.6
    assert easy.accuracy(GaussianDiscriminant, alpha=10.0) > 0.9
