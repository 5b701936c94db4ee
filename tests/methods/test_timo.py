"""TIMO: prompts weighed by the images of their class, and samples of it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from methods import Support, unit
from methods.contract.discriminant import discriminant
from methods.timo import TextImageMutualGuidance
from tests.methods.conftest import Easy


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 6, 2), (1, 1, 1)])
def test_it_is_the_published_formula(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """Loops over classes and prompts, and the discriminant by NumPy's covariance and pseudo-inverse."""
    easy = easy_of(counts=counts)
    each, x, y, dim = easy.task.each_text().astype(float), easy.support.x.astype(float), easy.support.y, 8
    samples, labels, texts = list(x), list(y), []
    for k in range(3):
        mean = x[y == k].mean(0)
        m = np.array([t @ mean / np.linalg.norm(mean) for t in each[k]])
        weights = np.exp(50 * m / np.linalg.norm(m))
        text = sum(w * t for w, t in zip(weights / weights.sum(), each[k], strict=True))
        texts.append(text / np.linalg.norm(text))
        samples += [own * t for own, t in zip(m, each[k], strict=True)]
        labels += [k] * len(m)
    samples, labels = np.array(samples), np.array(labels)
    means = np.array([samples[labels == k].mean(0) for k in range(3)])
    cov = np.cov((samples - means[labels]).T)
    precision = dim * np.linalg.pinv((len(samples) - 1) * cov + np.trace(cov) * np.eye(dim))
    expected = 0.7 * easy.queries @ np.array(texts).T
    for k, mean in enumerate(means):
        expected[:, k] += easy.queries @ precision @ mean + np.log(1 / 3) - mean @ precision @ mean / 2
    found = easy.logits(TextImageMutualGuidance, alpha=0.7)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_without_gamma_and_with_one_prompt_it_is_zero_shot_and_the_discriminant_of_the_joint_set(easy: Easy) -> None:
    """The discriminant's part is `gda`'s on the images and, of each class, the text times its cosine to their mean."""
    text = easy.task.class_text()
    one = Easy(replace(easy.task, text_each=text[:, None]), easy.queries, easy.labels)
    means = unit(np.stack([easy.support.x[easy.support.y == k].mean(0) for k in range(3)]))
    samples = (text * means).sum(1, keepdims=True) * text
    joint = Support(np.concatenate([easy.support.x, samples]), np.concatenate([easy.support.y, np.arange(3)]))
    weight, bias = discriminant(joint, 3)
    expected = easy.zero_shot + easy.queries @ weight.T + bias
    assert one.logits(TextImageMutualGuidance, gamma=0.0, alpha=easy.task.logit_scale) == pytest.approx(
        expected, rel=1e-4, abs=1e-4
    )


def test_without_gamma_the_text_is_the_mean_of_the_prompts(easy: Easy) -> None:
    both = [easy.logits(TextImageMutualGuidance, gamma=0.0, alpha=alpha) for alpha in (0.0, 1.0)]
    expected = easy.queries @ unit(easy.task.each_text().mean(1)).T
    assert both[1] - both[0] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_with_a_large_gamma_the_text_is_the_prompt_that_fits_the_images_best(easy: Easy) -> None:
    each = easy.task.each_text()
    means = unit(np.stack([easy.support.x[easy.support.y == k].mean(0) for k in range(3)]))
    best = np.stack([each[k, (each[k] @ means[k]).argmax()] for k in range(3)])
    both = [easy.logits(TextImageMutualGuidance, gamma=1e4, alpha=alpha) for alpha in (0.0, 1.0)]
    assert both[1] - both[0] == pytest.approx(easy.queries @ best.T, rel=1e-2, abs=1e-2)


def test_the_grid_shares_the_discriminant_and_each_text(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(choosing=True)
    points = easy.points(TextImageMutualGuidance)
    grid = TextImageMutualGuidance.grid
    assert len(points) == len(grid["gamma"]) * len(grid["alpha"]) + 1
    point, logits = points[40]
    assert logits == pytest.approx(easy.logits(TextImageMutualGuidance, **point), rel=1e-5)
