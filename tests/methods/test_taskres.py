"""TaskRes: class texts with a trained residual."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from methods.taskres import TaskResidual
from tests.methods.by_hand import cosine, descend
from tests.methods.conftest import Easy


def test_before_it_has_learned_anything_it_is_zero_shot(easy: Easy) -> None:
    found = easy.logits(TaskResidual, epochs=1, warmup_lr=1e-12)
    assert found == pytest.approx(easy.zero_shot, abs=1e-4)


def test_without_weight_the_residual_is_not_heard(easy: Easy) -> None:
    assert easy.logits(TaskResidual, alpha=0.0, epochs=3) == pytest.approx(easy.zero_shot, abs=1e-4)


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """Adam, one epoch at the rate of the warm-up and then half a cosine; the whole support in each step."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    residual = torch.zeros_like(text, requires_grad=True)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        moved = text + 0.3 * residual
        return easy.task.logit_scale * torch.cosine_similarity(queries[:, None], moved[None], dim=2)

    optimizer = torch.optim.Adam([residual], lr=0.02)
    descend(optimizer, [1e-3, *cosine(0.02, 7)], logits, x, y)
    found = easy.logits(TaskResidual, alpha=0.3, lr=0.02, warmup_lr=1e-3, epochs=8, batch_size=0)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(easy.zero_shot, abs=0.1)


@pytest.mark.parametrize(("shots", "epochs"), [("1", 100), ("7", 100), ("8", 200), ("16", 200), ("all", 100)])
def test_it_trains_longer_from_eight_shots_on(easy: Easy, shots: str, epochs: int) -> None:
    """`all` of this problem is four images per class."""
    recipe = TaskResidual().recipe(replace(easy.task, shots=shots), TaskResidual.defaults({}))
    assert (recipe.epochs, recipe.lr, recipe.batch_size, recipe.weight_decay) == (epochs, 2e-3, 256, 0.0)


def test_epochs_that_are_given_are_kept(easy: Easy) -> None:
    assert [point["epoch"] for point, _ in easy.points(TaskResidual, epochs=3)] == [1, 2, 3]


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(TaskResidual, lr=0.02) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
