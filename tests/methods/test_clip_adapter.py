"""CLIP-Adapter in its three recipes: the starting study's, the paper's, and that of its official code."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from methods.clip_adapter import ClipAdapter
from tests.methods.by_hand import begin, by_epoch, descend
from tests.methods.conftest import Easy

COOP = {"recipe": "coop"}


@pytest.mark.parametrize(
    ("shots", "epochs"), [("1", 50), ("2", 100), ("4", 100), ("8", 200), ("16", 200), ("all", 100)]
)
def test_the_recipe_of_coop(easy: Easy, shots: str, epochs: int) -> None:
    """`all` of this problem is four images per class."""
    recipe = ClipAdapter().recipe(replace(easy.task, shots=shots), ClipAdapter.defaults(COOP) | COOP)
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay) == ("sgd", 2e-3, 0.9, 5e-4)
    assert (recipe.epochs, recipe.schedule, recipe.warmup_epochs, recipe.warmup_lr) == (epochs, "epoch cosine", 1, 1e-5)
    assert recipe.batch_size == 32


def test_the_other_recipes_are_as_they_were(easy: Easy) -> None:
    for name, lr, epochs in (("study", 1e-4, 400), ("paper", 1e-5, 200)):
        recipe = ClipAdapter().recipe(easy.task, ClipAdapter.defaults({"recipe": name}) | {"recipe": name})
        assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.epochs) == ("adamw", lr, 0.01, epochs)
        assert (recipe.schedule, recipe.batch_size) == ("constant", 32)


@pytest.mark.parametrize("recipe", ["study", "paper", "coop"])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], recipe: str, easy_of: Callable[..., Easy]) -> None:
    """It starts as PyTorch's layers do. `study` has a BatchNorm before the bottleneck, `coop` SGD with momentum and
    decay, an epoch at 1e-5 and half a cosine.
    """
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    begin(0)
    down, up = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)
    norm = nn.BatchNorm1d(8) if recipe == "study" else nn.Identity()
    whole = nn.ModuleList([norm, down, up])

    def logits(queries: torch.Tensor) -> torch.Tensor:
        given = norm(queries)
        mixed = 0.3 * torch.relu(up(torch.relu(down(given)))) + 0.7 * given
        return 20 * torch.cosine_similarity(mixed[:, None], text[None], dim=2)

    queries = torch.from_numpy(easy.queries)
    whole.eval()
    start = logits(queries).detach().numpy()
    whole.train()
    if recipe == "coop":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(whole.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
        descend(optimizer, by_epoch(0.5, 8, 1e-5), logits, x, y)
    else:
        optimizer = torch.optim.AdamW(whole.parameters(), weight_decay=0.01)
        descend(optimizer, [0.05] * 8, logits, x, y)
    settings = {"lr": 0.5 if recipe == "coop" else 0.05, "weight_decay": 0.01, "epochs": 8, "batch_size": 0}
    found = easy.logits(ClipAdapter, recipe=recipe, ratio=0.3, **settings)
    whole.eval()
    assert found == pytest.approx(logits(queries).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(start, abs=0.02)


def test_the_paper_and_coop_see_images_at_their_own_length() -> None:
    """Which cancels there, without a BatchNorm, a bias or another thing of a length of its own."""
    assert [ClipAdapter().raw({"recipe": recipe}) for recipe in ("study", "paper", "coop")] == [False, True, True]
