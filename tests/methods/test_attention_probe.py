"""The attention probe: a linear probe behind an attention of the image to the class texts."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from methods.attention_probe import AttentionProbe
from methods.tools.check import verdict
from tests.methods.by_hand import begin, descend
from tests.methods.conftest import Easy


@pytest.mark.parametrize("counts", [(4, 4, 4), (5, 1, 2)])
@pytest.mark.parametrize(("pre", "post"), list(product([False, True], repeat=2)))
def test_it_learns_as_a_plain_loop_does(
    pre: bool, post: bool, counts: tuple[int, ...], easy_of: Callable[..., Easy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's layers, AdamW, the whole support in each step; the class texts go through their BatchNorm every time.

    With a large eps: a bias before a BatchNorm can't change the loss, and Adam would scale rounding up to a full step.
    """
    recipe = AttentionProbe.recipe
    monkeypatch.setattr(AttentionProbe, "recipe", lambda *given: replace(recipe(*given), eps=0.1))
    easy = easy_of(counts=counts, noise=1.5, text_noise=1.5)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    begin(0)
    linear = nn.Linear(8, 3)
    image, texts, mixed = (nn.BatchNorm1d(8) if there else nn.Identity() for there in (pre, pre, post))
    whole = nn.ModuleList([linear, image, texts, mixed])

    def logits(queries: Tensor) -> Tensor:
        seen, words = image(queries), texts(text)
        attended = torch.softmax(seen @ words.T / 8**0.5, dim=1) @ words
        return linear(mixed(0.7 * seen + 0.3 * attended))

    queries = torch.from_numpy(easy.queries)
    descend(torch.optim.AdamW(whole.parameters(), weight_decay=0.02, eps=0.1), [0.05] * 8, logits, x, y)
    whole.eval()
    settings = {"ratio": 0.3, "pre_norm": pre, "post_norm": post, "lr": 0.05, "weight_decay": 0.02}
    found = easy.logits(AttentionProbe, epochs=8, batch_size=0, **settings)
    assert found == pytest.approx(logits(queries).detach().numpy(), abs=2e-3)
    assert found != pytest.approx(easy.logits(AttentionProbe, epochs=1, batch_size=0, **settings), abs=0.05)


def test_its_recipe_is_that_of_the_starting_study(easy: Easy) -> None:
    recipe = AttentionProbe().recipe(easy.task, AttentionProbe.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.schedule) == ("adamw", 1e-4, 0.01, "constant")
    assert (recipe.epochs, recipe.batch_size) == (400, 32)
    assert AttentionProbe.defaults({})["ratio"] == 0.4


def test_the_order_of_classes_draws_another_start_and_as_good_an_end() -> None:
    assert verdict(AttentionProbe, "classes_permuted").failure == ""
