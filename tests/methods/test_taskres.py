"""TaskRes: class texts, at their own length, with a trained residual."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from methods.taskres import TaskResidual
from tests.methods.by_hand import by_epoch, descend
from tests.methods.conftest import Easy


def test_before_it_has_learned_anything_it_is_zero_shot(easy: Easy) -> None:
    found = easy.logits(TaskResidual, epochs=1, warmup_lr=1e-12)
    assert found == pytest.approx(easy.zero_shot, abs=1e-4)


def test_without_weight_the_residual_is_not_heard(easy: Easy) -> None:
    assert easy.logits(TaskResidual, alpha=0.0, epochs=3) == pytest.approx(easy.zero_shot, abs=1e-4)


@pytest.mark.parametrize("length", [0.0, 2.5])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], length: float, easy_of: Callable[..., Easy]) -> None:
    """Adam with coupled decay, an epoch at the rate of the warm-up, half a cosine; the whole support in each step.

    The text has the length that the task gives it, or the one that is asked for.
    """
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.text_of(length)))
    residual = torch.zeros_like(text, requires_grad=True)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        moved = text + 0.3 * residual
        return easy.task.logit_scale * torch.cosine_similarity(queries[:, None], moved[None], dim=2)

    optimizer = torch.optim.Adam([residual], lr=0.2, weight_decay=0.01)
    descend(optimizer, by_epoch(0.2, 8, 1e-3), logits, x, y)
    settings = {"alpha": 0.3, "lr": 0.2, "warmup_lr": 1e-3, "epochs": 8, "batch_size": 0, "weight_decay": 0.01}
    found = easy.logits(TaskResidual, text_length=length, **settings)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(easy.zero_shot, abs=0.1)


def test_texts_that_were_made_unit_count_as_of_length_10(easy: Easy) -> None:
    unit_text = replace(easy, task=replace(easy.task, text_raw=easy.task.text))
    expected = easy.logits(TaskResidual, epochs=5, text_length=10.0)
    assert unit_text.logits(TaskResidual, epochs=5) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("shots", "epochs"), [("1", 100), ("7", 100), ("8", 200), ("16", 200), ("all", 100)])
def test_its_recipe_is_the_published_one(easy: Easy, shots: str, epochs: int) -> None:
    """It trains longer from eight shots on; `all` of this problem is four images per class."""
    recipe = TaskResidual().recipe(replace(easy.task, shots=shots), TaskResidual.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.batch_size) == ("adam", 2e-3, 5e-4, 256)
    assert (recipe.epochs, recipe.schedule, recipe.warmup_epochs, recipe.warmup_lr) == (epochs, "epoch cosine", 1, 1e-5)


def test_epochs_that_are_given_are_kept(easy: Easy) -> None:
    assert [point["epoch"] for point, _ in easy.points(TaskResidual, epochs=3)] == [1, 2, 3]


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(TaskResidual, lr=0.1) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
