"""Tip-Adapter-F: the cache with its keys trained."""

from collections.abc import Callable

import pytest
import torch

from methods.tip_adapter import TipAdapter
from methods.tip_adapter_f import TipAdapterF
from tests.methods.by_hand import cosine, descend
from tests.methods.conftest import Easy


def test_before_it_has_learned_anything_it_is_tip_adapter(easy: Easy) -> None:
    found = easy.logits(TipAdapterF, alpha=2.0, beta=3.0, lr=1e-9, epochs=1)
    assert found == pytest.approx(easy.logits(TipAdapter, alpha=2.0, beta=3.0), abs=1e-4)


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """AdamW with ε = 1e-4, half a cosine over all steps; the whole support in each step."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    keys = x.clone().requires_grad_()

    def logits(queries: torch.Tensor) -> torch.Tensor:
        votes = torch.zeros(len(queries), len(counts))
        for key, label in zip(keys, y, strict=True):
            votes[:, label] += 2.0 * torch.exp(-3.0 * (1 - queries @ key))
        return easy.task.logit_scale * queries @ text.T + votes

    optimizer = torch.optim.AdamW([keys], lr=0.01, eps=1e-4, weight_decay=0.1)
    descend(optimizer, cosine(0.01, 5), logits, x, y)
    found = easy.logits(TipAdapterF, alpha=2.0, beta=3.0, lr=0.01, weight_decay=0.1, epochs=5, batch_size=0)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=2e-3)
    assert found != pytest.approx(easy.logits(TipAdapter, alpha=2.0, beta=3.0), abs=2e-2)


def test_its_defaults_are_the_published_ones(easy: Easy) -> None:
    recipe = TipAdapterF().recipe(easy.task, TipAdapterF.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.eps, recipe.schedule) == ("adamw", 1e-3, 1e-4, "cosine")
    assert (recipe.epochs, recipe.batch_size) == (20, 256)


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, noise=1.0, text_noise=3.0)
    assert easy.accuracy(TipAdapterF, lr=0.01, epochs=60, alpha=5.0) > easy.accuracy(TipAdapter, alpha=5.0) + 0.05
