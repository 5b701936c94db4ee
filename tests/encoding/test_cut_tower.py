"""Image towers cut before their last blocks: both halves together are the tower, whatever its kind and the place."""

import copy
from typing import Any

import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from workflow.lib.encoding import cut_tower

SIZE = 32


def vit(**changes: Any) -> VisionTransformer:
    given = {
        "image_size": SIZE,
        "patch_size": 16,
        "width": 32,
        "layers": 3,
        "heads": 2,
        "mlp_ratio": 2,
        "output_dim": 8,
    }
    return VisionTransformer(**given | changes)


def siglip() -> TimmModel:
    """timm's ViT with a pool of its own and no class token, as SigLIP's."""
    made = TimmModel("vit_tiny_patch16_224", 8, pool="map", proj=None)
    made.trunk.set_input_size(img_size=(SIZE, SIZE))
    return made


KINDS = {
    "vit": vit,
    "mean of tokens": lambda: vit(pool_type="avg", final_ln_after_pool=True, no_ln_pre=True),
    "odd blocks": lambda: vit(qk_norm=True),
    "coca": lambda: vit(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2, output_tokens=True),
    "resnet": lambda: ModifiedResNet([1, 2, 1, 1], 8, 4, image_size=SIZE, width=8),
    "siglip": siglip,
}


@pytest.fixture(params=KINDS, scope="module")
def visual(request: pytest.FixtureRequest) -> Any:
    """An image tower whose weights are random and far from zero."""
    torch.manual_seed(2)
    made = KINDS[request.param]().eval()
    for parameter in made.parameters():
        if parameter.dim() < 2:
            parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return made


def answer(visual: Any, images: torch.Tensor) -> torch.Tensor:
    found = visual(images)
    return found[0] if isinstance(found, tuple) else found


@torch.no_grad()
def test_both_halves_are_the_tower_wherever_it_is_cut(visual: Any) -> None:
    images = torch.randn(3, 3, SIZE, SIZE)
    expected = answer(visual, images)
    torch.testing.assert_close(cut_tower.whole(visual, images), expected, rtol=1e-6, atol=1e-6)
    for blocks in range(1, len(cut_tower.places(visual)) + 1):
        x = cut_tower.before(visual, images, blocks)
        assert len(x) == 3
        torch.testing.assert_close(cut_tower.embedded(visual, x, blocks), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_what_is_below_the_cut_can_be_left_out_and_all_else_is_used(visual: Any) -> None:
    images = torch.randn(2, 3, SIZE, SIZE)
    kept = copy.deepcopy(visual)
    cut_tower.drop_before(kept, 1)
    x = cut_tower.before(visual, images, 1)
    torch.testing.assert_close(cut_tower.embedded(kept, x, 1), answer(visual, images), rtol=1e-5, atol=1e-6)
    assert sum(p.numel() for p in kept.parameters()) < sum(p.numel() for p in visual.parameters())
    with torch.enable_grad():
        cut_tower.embedded(kept, x, 1).square().sum().backward()
    assert [name for name, parameter in kept.named_parameters() if parameter.grad is None] == []


def test_more_blocks_than_there_are_are_refused_with_their_number(visual: Any) -> None:
    count = len(cut_tower.places(visual))
    with pytest.raises(ValueError, match=f"has {count} blocks, and the last {count + 1} are asked for"):
        cut_tower.before(visual, torch.randn(1, 3, SIZE, SIZE), count + 1)


def test_a_tower_of_another_kind_says_what_it_is() -> None:
    with pytest.raises(ValueError, match="its image tower, a Linear, has no blocks that are known here"):
        cut_tower.kind_of(torch.nn.Linear(2, 2))
