"""Cross-modal adaptation: class texts are samples too."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from methods import Replica
from methods.cross_modal import CrossModal
from tests.methods.by_hand import cosine, descend
from tests.methods.conftest import Easy
from workflow.lib.engine.batches import Batches


def test_before_it_has_learned_anything_it_is_zero_shot(easy: Easy) -> None:
    assert easy.logits(CrossModal, lr=1e-12, steps=1) == pytest.approx(easy.zero_shot, abs=1e-4)


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """AdamW on all images and all texts in each step; the rate rises over two steps, then falls by half a cosine."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    text = torch.from_numpy(easy.task.class_text())
    weight = text.clone().requires_grad_()

    def logits(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([easy.task.logit_scale * (x * row).sum(1) for row in weight], dim=1)

    samples = torch.cat([torch.from_numpy(easy.support.x), text])
    labels = torch.cat([torch.from_numpy(easy.support.y), torch.arange(len(counts))])
    optimizer = torch.optim.AdamW([weight], lr=0.02, weight_decay=0.1)
    descend(optimizer, [0.01, 0.02, *cosine(0.02, 6)], logits, samples, labels)
    found = easy.logits(CrossModal, lr=0.02, weight_decay=0.1, steps=8, warmup=2, batch_size=0)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(easy.zero_shot, abs=0.1)


def test_half_of_every_step_is_text(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[2] * 10)
    method, replica = CrossModal(), Replica("-", CrossModal.defaults({}) | {"batch_size": 5}, 0)
    batches = Batches(method, easy.task, [replica], method.recipe(easy.task, replica.params))
    seen = []
    for _ in range(4):
        x, y = next(batches)
        images, texts = x[0, :5].numpy(), x[0, 5:].numpy()
        assert all(any(np.array_equal(image, one) for one in easy.support.x) for image in images)
        assert np.array_equal(texts, easy.task.class_text()[y[0, 5:]])
        seen += y[0, 5:].tolist()
    assert sorted(seen) == sorted([*range(10), *range(10)])


def test_its_defaults_are_the_published_ones(easy: Easy) -> None:
    recipe = CrossModal().recipe(easy.task, CrossModal.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.schedule) == ("adamw", 1e-3, 0.01, "cosine")
    assert (recipe.steps, recipe.warmup, recipe.batch_size) == (12800, 50, 8)


def test_there_is_a_candidate_every_hundred_steps(easy: Easy) -> None:
    assert [point["step"] for point, _ in easy.points(CrossModal, steps=250)] == [100, 200, 250]


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(CrossModal, lr=0.02, steps=300) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
