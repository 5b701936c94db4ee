"""SS-Text: class texts and images in one closed form."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from methods import Support, unit
from methods.ss_text import MOST, SSText, blended, image_weight
from tests.methods.conftest import Easy, cone

PAPER = {"recipe": "paper"}


@pytest.mark.parametrize("repel", [True, False])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_the_papers_is_the_published_formula_class_by_class(
    counts: tuple[int, ...], repel: bool, easy_of: Callable[..., Easy]
) -> None:
    easy = easy_of(counts=counts)
    logits = easy.logits(SSText, recipe="paper", repel=repel)
    before = []
    for k, text in enumerate(easy.task.class_text()):
        own = easy.support.x[easy.support.y == k]
        weight = text.astype(float)
        for image in own:
            weight += easy.task.logit_scale * len(own) / len(easy.support.y) * image
        before.append(weight)
    for k, weight in enumerate(before):
        away = 2 * weight - sum(before) / len(before)
        moved = weight - away / np.sqrt((away**2).sum()) if repel else weight
        for query, found in zip(easy.queries, logits[:, k], strict=True):
            cosine = query @ moved / np.linalg.norm(moved)
            assert found == pytest.approx(easy.task.logit_scale * cosine, rel=1e-3, abs=1e-3)


def test_the_papers_recipe_repels_unless_told_otherwise(easy: Easy) -> None:
    assert SSText.defaults(PAPER)["repel"] is True
    assert SSText.defaults({})["repel"] is False
    assert not np.allclose(easy.logits(SSText, **PAPER), easy.logits(SSText, **PAPER, repel=False))


def test_it_minimises_the_linear_part_of_a_penalised_cross_entropy(easy_of: Callable[..., Easy]) -> None:
    """Gradient descent, in place of the closed form."""
    easy = easy_of(counts=(5, 1, 2))
    x, y, text = easy.support.x.astype(float), easy.support.y, easy.task.class_text().astype(float)
    images = np.bincount(y)[:, None]
    weight = np.zeros_like(text)
    for _ in range(300):
        pulled = np.stack([x[y == k].sum(0) for k in range(3)]) * easy.task.logit_scale / len(y)
        weight -= 0.5 * ((weight - text) / images - pulled)
    assert blended(easy.support, easy.task.class_text(), easy.task.logit_scale) == pytest.approx(weight, abs=1e-4)


def test_where_images_count_for_nothing_it_is_zero_shot(easy: Easy) -> None:
    text = easy.task.class_text()
    assert np.array_equal(blended(easy.support, text, 0.0), text)


def test_a_class_with_fewer_images_stays_nearer_to_its_text(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(1, 20), text_noise=3.0)
    text = easy.task.class_text()
    weight = blended(easy.support, text, easy.task.logit_scale)
    cosine = (weight * text).sum(1) / np.linalg.norm(weight, axis=1)
    assert cosine[0] > cosine[1]


# --- ours ------------------------------------------------------------------------------------------------------------


def model(count: int, classes: int = 400, gain: float = 1.5) -> tuple[Support, np.ndarray]:
    """`t = g + η noise` and `f = gain g + σ noise` in 20 dimensions: η = 0.5², σ² = 2² in all, g of variance 1."""
    rng = np.random.default_rng(8)

    def normal(rows: int, deviation: float) -> np.ndarray:
        return deviation * rng.normal(size=(rows, 20)) / 20**0.5

    own, y = normal(classes, 1.0), np.repeat(np.arange(classes), count)
    x = 3 + gain * own[y] + normal(len(y), 2.0)
    return Support(x.astype(np.float32), y), (own + normal(classes, 0.5)).astype(np.float32)


@pytest.mark.parametrize(("count", "gain"), [(1, 1.0), (2, 1.5), (8, 1.5), (8, 0.6)])
def test_the_weight_of_an_image_is_the_best_one_of_the_model(count: int, gain: float) -> None:
    """a η / σ², which the support alone has to tell."""
    assert image_weight(*model(count, gain=gain)) == pytest.approx(gain * 0.25 / 4, rel=0.25)


def test_the_weight_of_an_image_with_few_classes_is_that_of_unbiased_variances() -> None:
    """By NumPy's variances and covariances with n − 1, of classes with equally many images."""
    count, classes, dim = 6, 4, 3
    rng = np.random.default_rng(3)
    own = rng.normal(size=(classes, dim))
    text = own + 0.7 * rng.normal(size=(classes, dim))
    each = own[:, None] + 0.5 * rng.normal(size=(classes, count, dim))
    means = each.mean(1)
    within = each.var(1, ddof=1).sum(1).mean()
    between = means.var(0, ddof=1).sum() - within / count
    shared = sum(np.cov(means[:, i], text[:, i])[0, 1] for i in range(dim))
    expected = between / shared * (text.var(0, ddof=1).sum() - shared**2 / between) / within
    assert 0.01 < expected < MOST
    found = image_weight(Support(each.reshape(-1, dim), np.repeat(np.arange(classes), count)), text)
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_perfect_text_hears_no_image_and_an_empty_one_nothing_else() -> None:
    support, _ = model(4)
    own = np.stack([support.x[support.y == k].mean(0) for k in range(400)])
    assert image_weight(Support(own, np.arange(400)), own) == pytest.approx(0, abs=1e-3)
    assert image_weight(support, np.ones((400, 20), np.float32)) in (0.0, MOST)


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_ours_is_text_plus_weighted_images(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=counts)
    text, c = easy.task.class_text(), image_weight(easy.support, easy.task.class_text())
    weight = [one + c * easy.support.x[easy.support.y == k].sum(0) for k, one in enumerate(text)]
    expected = easy.task.logit_scale * easy.queries @ unit(np.array(weight)).T
    assert easy.logits(SSText) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_ours_does_no_harm_to_a_good_text(count: int) -> None:
    easy = cone(count)
    right = (easy.zero_shot.argmax(1) == easy.labels).mean()
    assert 0.85 < right < 0.95
    assert easy.accuracy(SSText) > right - 0.005
    if count < 3:
        assert easy.accuracy(SSText, **PAPER) < right - 0.02


def test_ours_is_right_where_a_small_scale_turns_the_papers_round() -> None:
    """With s N_k / N = 0.1 what is taken off is longer than what tells the classes apart."""
    easy = cone(2, classes=100, noise=0.8)
    small = Easy(replace(easy.task, logit_scale=10.0), easy.queries, easy.labels)
    assert small.accuracy(SSText, **PAPER) < 0.1
    assert small.accuracy(SSText) >= (easy.zero_shot.argmax(1) == easy.labels).mean()


def test_it_beats_zero_shot_where_the_text_is_poor(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    for settings in ({}, PAPER):
        assert easy.accuracy(SSText, **settings) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
