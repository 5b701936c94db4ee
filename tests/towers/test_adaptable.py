"""Text towers with parts of the replicas' own: what is cut, shared, cached or run side by side changes nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from methods.contract.adaptation import Adaptation, LowRank, Norms
from tests.towers import models
from tests.towers.models import KINDS, NAMES
from tests.towers.test_text import encoder
from workflow.lib.towers.adaptable import AdaptableTexts

USUAL = [kind for kind in KINDS if kind != "odd blocks"]
TEXTS = [f"a photo of a {name}." for name in NAMES]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parts(tower: AdaptableTexts, kind: str, replicas: int = 2) -> list[Tensor]:
    """What replicas have of their own, far from where it begins."""
    if kind == "norms":
        start = tower.norms()
        return [one + 0.3 * drawn(replicas, *one.shape, seed=i) for i, one in enumerate(start)]
    blocks = {"low rank": tower.depth, "low rank on top": 1}[kind]
    shapes = (replicas, blocks, 3, 2, tower.width), (replicas, blocks, 3, tower.width, 2)
    return [0.15 * drawn(*shape, seed=i) for i, shape in enumerate(shapes)]


def adaptation(kind: str, own: list[Tensor]) -> Adaptation:
    if kind == "norms":
        return Adaptation(norms=Norms(*own))
    return Adaptation(low_rank=LowRank(own[0], own[1], torch.tensor(0.7), lambda x: x))


def answers(tower: AdaptableTexts, kind: str, own: list[Tensor]) -> list[Tensor]:
    """Logits of a few images by the unit class texts, and gradients of their cross-entropy."""
    leaves = [one.clone().requires_grad_(True) for one in own]
    texts = tower(adaptation(kind, leaves))
    logits = (
        10
        * torch.nn.functional.normalize(drawn(5, 16, seed=9), dim=-1)
        @ torch.nn.functional.normalize(texts, dim=-1).mT
    )
    labels = torch.tensor([0, 1, 2, 3, 0] * len(texts))
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels)
    return [logits.detach(), *torch.autograd.grad(loss, leaves)]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(
        (one - other).abs().max() <= 1e-5 * other.abs().max() for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("own", ["norms", "low rank", "low rank on top"])
@pytest.mark.parametrize("switches", [{}, {"share": False}, {"cut": False}], ids=["both", "cut", "neither"])
@pytest.mark.parametrize("kind", USUAL)
def test_savings_change_neither_logits_nor_gradients(kind: str, switches: dict[str, bool], own: str) -> None:
    """Against whole texts through the model's own transformer, whose weights are made what they come to."""
    model = models.model(kind)
    tower = encoder(kind, model, **switches).adaptable(TEXTS)
    given = parts(tower, own)
    assert same(answers(tower, own, given), plain(kind, model, own, given))


def plain(kind: str, model: Any, own: str, given: list[Tensor]) -> list[Tensor]:
    """One replica after the other, by `encode_text` with `functional_call`."""
    leaves = [one.clone().requires_grad_(True) for one in given]
    prefix = "text." if hasattr(model, "text") else ""
    tokens = models.tokenizer(kind)(TEXTS)
    layers = [f"{prefix}transformer.resblocks.{i}" for i in range(3)]
    sets = []
    for replica in range(len(given[0])):
        state: dict[str, Tensor] = {}
        first, second = leaves[0][replica], leaves[1][replica]
        if own == "norms":
            names = [f"{layer}.ln_{i}" for layer in layers for i in (1, 2)] + [f"{prefix}ln_final"]
            state = {f"{name}.weight": one for name, one in zip(names, first, strict=True)}
            state |= {f"{name}.bias": one for name, one in zip(names, second, strict=True)}
        else:
            for layer, down, up in zip(layers[-len(first) :], first, second, strict=True):
                name = f"{layer}.attn.in_proj_weight"
                state[name] = model.get_parameter(name) + 0.7 * (up @ down).flatten(0, 1)
        sets.append(torch.func.functional_call(Texts(model), {f"model.{k}": v for k, v in state.items()}, (tokens,)))
    texts = torch.nn.functional.normalize(torch.stack(sets), dim=-1)
    logits = 10 * torch.nn.functional.normalize(drawn(5, 16, seed=9), dim=-1) @ texts.mT
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor([0, 1, 2, 3, 0] * len(texts)))
    return [logits.detach(), *torch.autograd.grad(loss, leaves)]


class Texts(torch.nn.Module):
    """`encode_text` as what a module is called for."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.model.encode_text(tokens)
        return found


@pytest.mark.parametrize("kind", USUAL)
def test_with_nothing_of_its_own_the_tower_is_itself(kind: str) -> None:
    model = models.model(kind)
    tower = encoder(kind, model).adaptable(TEXTS)
    expected = model.encode_text(models.tokenizer(kind)(TEXTS))
    assert tower(Adaptation()).shape == (1, *expected.shape) == (1, len(TEXTS), tower.dim)
    assert torch.allclose(tower(Adaptation())[0], expected, atol=1e-5)
    weight, bias = tower.norms()
    assert torch.allclose(tower(Adaptation(norms=Norms(weight[None], bias[None])))[0], expected, atol=1e-5)


def test_what_stands_below_the_lowest_trained_block_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = encoder("openai").adaptable(TEXTS)
    given = parts(tower, "low rank on top")
    first = answers(tower, "low rank on top", given)
    monkeypatch.setattr("workflow.lib.towers.blocks.through", lambda *_: pytest.fail("they ran again"))
    assert same(answers(tower, "low rank on top", given), first)


def test_a_replica_alone_is_as_in_company() -> None:
    tower = encoder("openai").adaptable(TEXTS)
    for own in ("norms", "low rank"):
        given = parts(tower, own, replicas=3)
        together = tower(adaptation(own, given))
        for i in range(3):
            assert torch.allclose(tower(adaptation(own, [one[i : i + 1] for one in given]))[0], together[i], atol=1e-6)


def test_what_all_texts_begin_with_is_shared() -> None:
    tower = encoder("openai").adaptable(TEXTS)
    assert len(tower._layout.start) == 5  # the start, and "a photo of a"
    assert len(encoder("siglip").adaptable(TEXTS)._layout.start) == 4
    same_texts = encoder("openai").adaptable(["a cat", "a cat"])
    assert torch.equal(same_texts(Adaptation())[0, 0], same_texts(Adaptation())[0, 1])
