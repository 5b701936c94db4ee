"""The linear probe: where it starts, and what it learns."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from methods.linear_probe import LinearProbe
from tests.methods.by_hand import begin, descend
from tests.methods.conftest import Easy

TEXT = {"init": "text"}


def test_from_the_texts_it_is_zero_shot_before_it_has_learned_anything(easy: Easy) -> None:
    assert easy.logits(LinearProbe, **TEXT, lr=1e-12, epochs=1) == pytest.approx(easy.zero_shot, abs=1e-4)


def test_from_the_texts_it_learns_as_a_plain_loop_does(easy: Easy) -> None:
    x, y = map(torch.from_numpy, (easy.support.x, easy.support.y))
    weight = torch.tensor(easy.task.logit_scale * easy.task.class_text(), requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        return torch.stack([(queries * row).sum(1) for row in weight], dim=1) + bias

    descend(torch.optim.AdamW([weight, bias], weight_decay=0.01), [0.05] * 6, logits, x, y)
    found = easy.logits(LinearProbe, **TEXT, lr=0.05, epochs=6, batch_size=0)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(easy.zero_shot, abs=0.1)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_from_pytorchs_start_it_learns_as_a_plain_loop_does(
    counts: tuple[int, ...], batch_norm: bool, easy_of: Callable[..., Easy]
) -> None:
    easy = easy_of(counts=counts, noise=1.5)
    x, y = map(torch.from_numpy, (easy.support.x, easy.support.y))
    begin(0)
    linear = nn.Linear(8, len(counts))
    module = nn.Sequential(nn.BatchNorm1d(8), linear) if batch_norm else linear
    descend(torch.optim.AdamW(module.parameters(), weight_decay=0.02), [0.05] * 8, module, x, y)
    expected = module.eval()(torch.from_numpy(easy.queries)).detach().numpy()
    settings = {"batch_norm": batch_norm, "lr": 0.05, "weight_decay": 0.02, "batch_size": 0}
    found = easy.logits(LinearProbe, epochs=8, **settings)
    assert found == pytest.approx(expected, abs=2e-3)
    assert found != pytest.approx(easy.logits(LinearProbe, epochs=1, **settings), abs=0.05)


def test_its_recipe_is_that_of_the_starting_study(easy: Easy) -> None:
    recipe = LinearProbe().recipe(easy.task, LinearProbe.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.schedule) == ("adamw", 1e-4, 0.01, "constant")
    assert (recipe.epochs, recipe.batch_size) == (200, 32)


def test_what_it_needs_and_whether_it_has_a_batch_norm_hang_on_the_start() -> None:
    text, plain = LinearProbe.defaults(TEXT) | TEXT, LinearProbe.defaults({})
    assert (text["batch_norm"], plain["batch_norm"]) == (False, True)
    assert LinearProbe().needs(plain) == {"image"}
    assert LinearProbe().needs(text) == {"image", "text"}


def test_a_random_start_differs_from_zero_shot(easy: Easy) -> None:
    assert not np.allclose(easy.logits(LinearProbe, epochs=1, batch_norm=False), easy.zero_shot, atol=1)
