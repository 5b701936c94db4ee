"""LFA: a rotation onto the class texts, mixed with the identity, then trained by the adaptive re-ranking loss."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes, polar
from scipy.stats import special_ortho_group

from methods import Support, unit
from methods.lfa import SHARES, LinearAlignment, chosen_share, rotation
from tests.methods.by_hand import cosine
from tests.methods.conftest import Easy

STILL = {"lr": 1e-12, "weight_decay": 0.0, "epochs": 1}


def test_with_the_identity_alone_and_no_step_it_is_zero_shot(easy: Easy) -> None:
    assert easy.logits(LinearAlignment, b=1.0, **STILL) == pytest.approx(easy.zero_shot, abs=1e-4)


def test_the_rotation_is_scipys_where_there_is_one_only(easy_of: Callable[..., Easy]) -> None:
    """As many classes as dimensions."""
    easy = easy_of(counts=[3] * 8)
    expected, _ = orthogonal_procrustes(easy.support.x.astype(float), easy.task.class_text()[easy.support.y])
    assert rotation(easy.support, easy.task.class_text()) == pytest.approx(expected, abs=1e-3)


def test_of_several_rotations_it_is_the_one_nearest_to_the_identity(easy: Easy) -> None:
    """Three classes in eight dimensions: what is left is the rotation of the rest onto the rest."""
    text, x = easy.task.class_text(), easy.support.x.astype(float)
    left, sizes, right = np.linalg.svd(x.T @ text[easy.support.y])
    own, rest = slice(0, 3), slice(3, 8)
    assert sizes[3] < 1e-6 * sizes[2]
    turned, _ = polar(left[:, rest].T @ right[rest].T)
    expected = left[:, own] @ right[own] + left[:, rest] @ turned @ right[rest]
    found = rotation(easy.support, text)
    assert found == pytest.approx(expected, abs=1e-3)
    assert found @ found.T == pytest.approx(np.eye(8), abs=1e-9)


def test_without_a_share_of_the_identity_its_start_is_the_rotation(easy: Easy) -> None:
    turned = easy.queries @ rotation(easy.support, easy.task.class_text())
    expected = easy.task.logit_scale * turned @ easy.task.class_text().T
    assert easy.logits(LinearAlignment, b=0.0, **STILL) == pytest.approx(expected, abs=1e-3)


def reranking(turned: torch.Tensor, y: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The loss as a plain loop over images and their nearest wrong classes."""
    losses = []
    for f, label in zip(torch.nn.functional.normalize(turned, dim=1), y, strict=True):
        far = [(f - t).norm() for t in text]
        wrong = sorted((d.item(), j) for j, d in enumerate(far) if j != label)[:3]
        losses += [(far[label] + (1 - text[label] @ text[j]) / 4 - far[j]).clamp_min(0) for _, j in wrong]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("counts", [(4, 4, 4), (9, 9), (5, 1, 2, 2, 3)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    start = 0.7 * rotation(easy.support, easy.task.class_text()) + 0.3 * np.eye(8)
    weight = torch.tensor(start, dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], weight_decay=0.01)
    for rate in cosine(0.02, 10):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        reranking(x @ weight, y, text).backward()
        optimizer.step()
    turned = unit((torch.from_numpy(easy.queries) @ weight).detach().numpy())
    found = easy.logits(LinearAlignment, b=0.3, lr=0.02, weight_decay=0.01, epochs=10)
    assert found == pytest.approx(easy.task.logit_scale * turned @ easy.task.class_text().T, abs=5e-3)
    assert found != pytest.approx(easy.logits(LinearAlignment, b=0.3, **STILL), abs=0.1)


def test_where_all_shares_do_as_well_the_identity_is_chosen(easy: Easy) -> None:
    clean = Support(unit(easy.task.class_text()), np.arange(3))
    assert chosen_share(clean, easy.task.class_text(), np.random.default_rng(0)) == 1.0


def test_where_the_texts_are_turned_away_the_rotation_is_chosen(easy_of: Callable[..., Easy]) -> None:
    """As if image and text came from different models: zero-shot is at chance, and the rotation finds its way back."""
    easy = easy_of(counts=[8] * 5, noise=0.3, text_noise=0.1)
    turn = special_ortho_group(8, seed=3).rvs().astype(np.float32)
    text = easy.task.class_text() @ turn
    apart = replace(easy, task=replace(easy.task, text=text, text_raw=text))
    assert (apart.zero_shot.argmax(1) == apart.labels).mean() < 0.5
    assert chosen_share(apart.support, text, np.random.default_rng(0)) < 0.5
    assert apart.accuracy(LinearAlignment) > 0.9


def test_the_share_is_one_of_25_and_depends_on_the_seed_alone(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(noise=2.0, text_noise=2.0)
    text = easy.task.class_text()
    shares = [chosen_share(easy.support, text, np.random.default_rng(seed)) for seed in (0, 0, 1, 2)]
    assert shares[0] == shares[1]
    assert len(SHARES) == 25
    assert set(shares) <= set(SHARES)


def test_it_is_chosen_once_for_a_support(easy: Easy, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr("methods.lfa.chosen_share", lambda *_: asked.append(1.0) or 1.0)
    easy.logits(LinearAlignment, epochs=2)
    assert asked == [1.0]


def test_its_recipe(easy: Easy) -> None:
    recipe = LinearAlignment().recipe(easy.task, LinearAlignment.defaults({}))
    assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.batch_size) == ("adamw", 5e-4, 5e-4, 0)
    assert (recipe.epochs, recipe.schedule) == (100, "epoch cosine")
