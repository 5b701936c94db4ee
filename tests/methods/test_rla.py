"""RLA: a map of the embedding that is held to the identity."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from methods import Replica, Support
from methods.rla import RegularizedLinear
from tests.methods.by_hand import cosine, descend
from tests.methods.conftest import Easy


def test_before_it_has_learned_anything_it_is_zero_shot(easy: Easy) -> None:
    assert easy.logits(RegularizedLinear, lr=1e-12, epochs=1) == pytest.approx(easy.zero_shot, abs=1e-4)


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], lam: float, easy_of: Callable[..., Easy]) -> None:
    """Adam with its eps, half a cosine, the whole support in each step, a sum of squares from the identity."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    weight = torch.eye(8, requires_grad=True)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        return easy.task.logit_scale * torch.cosine_similarity((queries @ weight)[:, None], text[None], dim=2)

    def penalty() -> torch.Tensor:
        return lam * (weight - torch.eye(8)).norm() ** 2

    descend(torch.optim.Adam([weight], eps=1e-4), cosine(0.02, 12), logits, x, y, penalty)
    found = easy.logits(RegularizedLinear, lr=0.02, epochs=12, **{"lambda": lam})
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(easy.zero_shot, abs=0.1)


def test_with_a_heavy_penalty_it_is_zero_shot(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(noise=1.5, text_noise=3.0)
    found = easy.logits(RegularizedLinear, lr=1e-3, **{"lambda": 1e6})
    assert found == pytest.approx(easy.zero_shot, abs=0.01)
    assert easy.logits(RegularizedLinear, lr=1e-3, **{"lambda": 0.0}) != pytest.approx(easy.zero_shot, abs=0.5)


def test_without_its_weights_it_is_zero_shot(easy: Easy) -> None:
    found = easy.logits(RegularizedLinear, lr=0.01, wise=0.0, epochs=5)
    assert found == pytest.approx(easy.zero_shot, abs=1e-4)


@pytest.mark.parametrize(("shots", "lam"), [("1", 1.0), ("16", 1 / 16), ("all", 1 / 4)])
def test_its_recipe_is_the_published_one(easy: Easy, shots: str, lam: float) -> None:
    task, params = replace(easy.task, shots=shots), RegularizedLinear.defaults({})
    recipe = RegularizedLinear().recipe(task, params)
    assert (recipe.optimizer, recipe.lr, recipe.eps, recipe.batch_size) == ("adam", 1e-5, 1e-4, 0)
    assert (recipe.epochs, recipe.schedule, recipe.weight_decay) == (300, "epoch cosine", 0)
    assert RegularizedLinear().configured(task, Replica("-", params, 0)) == {"lr": 1e-5, "lambda": lam}


def test_where_the_protocol_chooses_rate_and_penalty_have_their_grid(easy_of: Callable[..., Easy]) -> None:
    choosing, plain = easy_of(choosing=True, noise=1.5), easy_of(noise=1.5)
    points = choosing.points(RegularizedLinear, epochs=3)
    assert len(points) == 7 * 7 + 1
    assert points[-1][0] == {"lr": 1e-5, "lambda": 0.25}
    for point, logits in points[::9]:
        assert logits == pytest.approx(plain.logits(RegularizedLinear, epochs=3, **point), abs=1e-4)


def test_epoch_e_sees_view_e(easy: Easy) -> None:
    """With two views and two epochs it learns from either once: other views give another map."""
    views = np.stack([easy.support.x, np.roll(easy.support.x, 1, 0)], 1)
    viewed = replace(easy, task=replace(easy.task, supports={0: Support(easy.support.x, easy.support.y, views)}))
    x, y, text = (torch.from_numpy(one) for one in (views, easy.support.y, easy.task.class_text()))
    weight = torch.eye(8, requires_grad=True)
    optimizer, turns = torch.optim.Adam([weight], eps=1e-4), iter((0, 1))

    def logits(queries: torch.Tensor) -> torch.Tensor:
        return easy.task.logit_scale * torch.cosine_similarity((queries @ weight)[:, None], text[None], dim=2)

    descend(optimizer, cosine(0.05, 2), lambda _: logits(x[:, next(turns)]), x, y)
    found = viewed.logits(RegularizedLinear, views=True, lr=0.05, epochs=2, **{"lambda": 0.0})
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(RegularizedLinear, lr=1e-2) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
