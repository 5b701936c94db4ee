"""GDA: Gaussian discriminant analysis beside zero-shot."""

from collections.abc import Callable

import numpy as np
import pytest

from methods import Support
from methods.gda import ONE_IMAGE, GaussianDiscriminant, discriminant
from tests.methods.conftest import Easy


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
    assert easy.logits(GaussianDiscriminant, alpha=0.7) == pytest.approx(expected, rel=1e-4)


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
    easy = easy_of(counts=(1, 2, 1))
    assert not np.allclose(easy.logits(GaussianDiscriminant), easy.zero_shot)
    assert easy.notes(GaussianDiscriminant) == [""]


def test_where_the_text_is_wrong_the_images_win(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=20.0)
    assert (easy.zero_shot.argmax(1) == easy.labels).mean() < 0.6
    assert easy.accuracy(GaussianDiscriminant, alpha=10.0) > 0.9
