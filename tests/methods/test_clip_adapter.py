"""CLIP-Adapter as its official code trains it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from methods import Replica
from methods.clip_adapter import ClipAdapter
from tests.methods.by_hand import by_epoch, descend
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


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_learns_as_a_plain_loop_does(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """SGD with momentum and decay, an epoch at 1e-5, half a cosine; it starts as PyTorch's layers do."""
    easy = easy_of(counts=counts, noise=1.5, text_noise=3.0)
    x, y, text = map(torch.from_numpy, (easy.support.x, easy.support.y, easy.task.class_text()))
    torch.manual_seed(int(Replica("-", {}, 0).rng("init").integers(2**63)))
    down, up = torch.nn.Linear(8, 2, bias=False), torch.nn.Linear(2, 8, bias=False)

    def logits(queries: torch.Tensor) -> torch.Tensor:
        adapted = torch.relu(up(torch.relu(down(queries))))
        mixed = 0.2 * adapted + 0.8 * queries
        return easy.task.logit_scale * torch.cosine_similarity(mixed[:, None], text[None], dim=2)

    weights = [*down.parameters(), *up.parameters()]
    optimizer = torch.optim.SGD(weights, lr=0.5, momentum=0.9, weight_decay=0.01)
    start = logits(torch.from_numpy(easy.queries)).detach().numpy()
    descend(optimizer, by_epoch(0.5, 8, 1e-5), logits, x, y)
    found = easy.logits(ClipAdapter, recipe="coop", lr=0.5, weight_decay=0.01, epochs=8, batch_size=0)
    assert found == pytest.approx(logits(torch.from_numpy(easy.queries)).detach().numpy(), abs=5e-3)
    assert found != pytest.approx(start, abs=0.02)
