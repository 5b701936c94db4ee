"""Image towers with parts of the replicas' own: what is left out or run side by side changes nothing."""

from typing import Any

import pytest
import torch
from open_clip.model import CLIP
from torch import Tensor

from methods.contract.adaptation import Adaptation, Norms
from tests.towers import models
from tests.towers.test_adaptable import adaptation, drawn, parts, same
from workflow.lib.towers.adaptable_images import AdaptableImages, unfit

KINDS: dict[str, dict[str, Any]] = {
    "token": {},
    "mean": {"pool_type": "avg"},
    "mean, then normalized": {"pool_type": "avg", "final_ln_after_pool": True},
    "no norm before": {"no_ln_pre": True},
    "scaled": {"ls_init_value": 0.5},
}
IMAGES = drawn(2, 3, 3 * 32 * 32, seed=4)  # (R, B, numbers)


def tower(kind: str) -> Any:
    """Of three blocks; every parameter is random and far from zero."""
    torch.manual_seed(3)
    vision = {**models.VISION, "layers": 3, **KINDS[kind]}
    visual = CLIP(16, vision, models.FEW, quick_gelu=kind == "token").visual.eval()
    for parameter in visual.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return visual


def read(rows: Tensor) -> Tensor:
    return rows.unflatten(-1, (3, 32, 32))


def answers(found: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    """Embeddings, and gradients of a number that depends on all of them."""
    return [found.detach(), *torch.autograd.grad((found * drawn(*found.shape, seed=8)).sum(), leaves)]


def ours(images: AdaptableImages, own: str, given: list[Tensor], x: Tensor = IMAGES) -> list[Tensor]:
    leaves = [one.clone().requires_grad_(True) for one in given]
    return answers(images(adaptation(own, leaves), x), leaves)


def plain(visual: Any, own: str, given: list[Tensor]) -> list[Tensor]:
    """One replica after the other through the whole tower, whose weights are made what they come to."""
    leaves = [one.clone().requires_grad_(True) for one in given]
    layers = [f"transformer.resblocks.{i}" for i in range(3)]
    sets = []
    for replica, x in enumerate(IMAGES):
        first, second = leaves[0][replica], leaves[1][replica]
        if own == "norms":
            before = ["ln_pre"] if hasattr(visual.ln_pre, "weight") else []
            names = [*before, *(f"{layer}.ln_{i}" for layer in layers for i in (1, 2)), "ln_post"]
            state = {f"{name}.weight": one for name, one in zip(names, first, strict=True)}
            state |= {f"{name}.bias": one for name, one in zip(names, second, strict=True)}
        else:
            names = [f"{layer}.attn.in_proj_weight" for layer in layers[-len(first) :]]
            made = [0.7 * (up @ down).flatten(0, 1) for down, up in zip(first, second, strict=True)]
            state = {name: visual.get_parameter(name) + one for name, one in zip(names, made, strict=True)}
        sets.append(torch.func.functional_call(visual, state, (read(x),)))
    return answers(torch.stack(sets), leaves)


@pytest.mark.parametrize("own", ["norms", "low rank", "low rank on top"])
@pytest.mark.parametrize("kind", KINDS)
def test_side_by_side_it_gives_what_the_tower_itself_gives_one_by_one(kind: str, own: str) -> None:
    visual = tower(kind)
    images = AdaptableImages(visual, read)
    given = parts(images, own)
    assert same(ours(images, own, given), plain(visual, own, given))


@pytest.mark.parametrize("kind", KINDS)
def test_from_what_goes_into_its_last_blocks_it_is_the_same(kind: str) -> None:
    visual = tower(kind)
    given = parts(AdaptableImages(visual, read), "low rank on top")
    with torch.no_grad():
        x = visual._embeds(read(IMAGES.flatten(0, 1)))
        tokens = visual.transformer.resblocks[1](visual.transformer.resblocks[0](x))
    cached = AdaptableImages(visual, lambda rows: rows.unflatten(-1, tokens.shape[1:]), after=1)
    assert cached.depth == 1
    rows = tokens.flatten(1).unflatten(0, IMAGES.shape[:2])
    assert same(ours(cached, "low rank on top", given, rows), plain(visual, "low rank on top", given))


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_of_its_own_the_tower_is_itself_for_images_of_all(kind: str) -> None:
    visual = tower(kind)
    images, expected = AdaptableImages(visual, read), visual(read(IMAGES[0]))
    assert images(Adaptation(), IMAGES[0]).shape == (1, 3, images.dim)
    assert torch.allclose(images(Adaptation(), IMAGES[0])[0], expected, atol=1e-5)
    weight, bias = (one.expand(2, -1, -1) for one in images.norms())
    both = images(Adaptation(norms=Norms(weight, bias)), IMAGES[0])
    assert torch.allclose(both, expected.expand(2, -1, -1), atol=1e-5)


def test_towers_of_another_kind_say_why_they_don_t_fit() -> None:
    assert {unfit(tower(kind)) for kind in KINDS} == {""}
    resnet = CLIP(16, {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 16}, models.FEW)
    assert unfit(resnet.visual) == "a ModifiedResNet is not open_clip's own ViT"
    pooled = CLIP(16, {**models.VISION, "attentional_pool": True, "attn_pooler_heads": 4}, models.FEW)
    assert unfit(pooled.visual) == "it pools by attention"
    odd = CLIP(16, {**models.VISION, "qk_norm": True}, models.FEW)
    assert unfit(odd.visual) == "its blocks are not open_clip's usual ones"
