"""CLAP: a linear probe held to the class texts."""

from collections.abc import Callable
from math import exp

import numpy as np
import pytest
import torch

from methods import Support
from methods.clap import Clap, pulls
from tests.methods.by_hand import by_epoch, descend
from tests.methods.conftest import Easy


def test_before_it_has_learned_anything_it_is_zero_shot(easy: Easy) -> None:
    assert easy.logits(Clap, lr=1e-12, epochs=1) == pytest.approx(easy.zero_shot, abs=1e-4)


def test_the_pull_of_a_class_is_its_mean_zero_shot_probability(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(5, 1, 2))
    text, scale = easy.task.class_text(), easy.task.logit_scale
    own: list[list[float]] = [[], [], []]
    for image, label in zip(easy.support.x, easy.support.y, strict=True):
        each = [exp(scale * float(image @ one)) for one in text]
        own[label].append(each[label] / sum(each))
    assert pulls(easy.support, text, scale) == pytest.approx([np.mean(one) for one in own], rel=1e-4)


def test_a_class_without_images_has_no_pull() -> None:
    support = Support(np.eye(2, dtype=np.float32)[:1], np.array([0]))
    assert pulls(support, np.eye(2, dtype=np.float32), 1.0) == pytest.approx([exp(1) / (exp(1) + 1), 0])


@pytest.mark.parametrize("length", [0.0, 2.5])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], length: float, easy_of: Callable[..., Easy]) -> None:
    """SGD with momentum, an epoch at the rate of the warm-up, half a cosine; the whole support in each step.

    Weights and penalty are at the length that the task gives the text, or the one that is asked for.
    """
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.text_of(length)))
    sure = (easy.task.logit_scale * x @ torch.from_numpy(easy.task.class_text()).T).softmax(1)
    pull = torch.stack([sure[y == k, k].mean() for k in range(len(counts))])
    weight = text.clone().requires_grad_()

    def logits(queries: torch.Tensor) -> torch.Tensor:
        return easy.task.logit_scale * torch.cosine_similarity(queries[:, None], weight[None], dim=2)

    def penalty() -> torch.Tensor:
        each = [pull[k] * (weight[k] - text[k]).norm() ** 2 for k in range(len(counts))]
        return torch.stack(each).sum() / len(counts)

    descend(torch.optim.SGD([weight], lr=0.2, momentum=0.9), by_epoch(0.2, 8, 1e-3), logits, x, y, penalty)
    found = easy.logits(Clap, lr=0.2, epochs=8, batch_size=0, text_length=length, warmup_lr=1e-3)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(easy.zero_shot, abs=0.02)


def test_it_stays_nearer_to_zero_shot_than_without_its_penalty(
    easy_of: Callable[..., Easy], monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = easy_of(noise=1.5)
    held = np.abs(easy.logits(Clap) - easy.zero_shot).mean()
    monkeypatch.setattr(Clap, "penalty", lambda self, head: None)
    assert held < 0.9 * np.abs(easy.logits(Clap) - easy.zero_shot).mean()


def test_its_defaults_are_the_published_ones(easy: Easy) -> None:
    recipe = Clap().recipe(easy.task, Clap.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.schedule) == ("sgd", 0.1, 0.9, "epoch cosine")
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (300, 256, 0.0)
    assert (recipe.warmup_epochs, recipe.warmup_lr) == (1, 1e-5)


def test_it_learns_where_the_text_misleads(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[8] * 5, text_noise=3.0)
    assert easy.accuracy(Clap) > (easy.zero_shot.argmax(1) == easy.labels).mean() + 0.1
