"""SS-Text: class texts and images in one closed form."""

from collections.abc import Callable

import numpy as np
import pytest

from methods.ss_text import SSText, blended
from tests.methods.conftest import Easy


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_is_the_published_formula_class_by_class(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=counts)
    logits = easy.logits(SSText)
    for k, text in enumerate(easy.task.class_text()):
        own = easy.support.x[easy.support.y == k]
        weight = text.astype(float)
        for image in own:
            weight += easy.task.logit_scale * len(own) / len(easy.support.y) * image
        for query, found in zip(easy.queries, logits[:, k], strict=True):
            cosine = query @ weight / np.linalg.norm(weight)
            assert found == pytest.approx(easy.task.logit_scale * cosine, rel=1e-4)


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


def test_it_beats_zero_shot_where_the_text_is_poor(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(SSText) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
