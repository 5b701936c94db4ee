"""Both towers as modules: they give what the model gives, and of its tensors have a copy of those alone that train."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from methods import unit
from tests.towers import models
from tests.towers.models import DEEP, NAMES, RESNET
from workflow.lib.encoding import beside
from workflow.lib.encoding.images import Preprocess
from workflow.lib.towers.loading import towers
from workflow.lib.towers.model import TwoTowers

TEMPLATES = ["a photo of the {}.", "the {}"]
TOWERS = [("openai", DEEP), ("custom", DEEP), ("siglip", RESNET)]


def made(kind: str = "openai", vision: Any = DEEP, names: Any = None) -> tuple[TwoTowers, Any]:
    backbone = models.backbone(kind, vision)
    return TwoTowers(backbone, names or [[name] for name in NAMES], TEMPLATES), backbone


def pixels(count: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(256, size=(count, 32, 32, 3)).astype(np.uint8))


@pytest.mark.parametrize(("kind", "vision"), TOWERS)
def test_images_get_the_embeddings_of_the_model_from_pixels_and_from_before_each_block(kind: str, vision: Any) -> None:
    model, backbone = made(kind, vision)
    images = Preprocess(backbone.preprocess).finish(pixels())
    expected = backbone.model.encode_image(images)
    torch.testing.assert_close(model.image()(pixels().flatten(1)), expected, rtol=1e-6, atol=1e-6)
    for blocks in (1, 2, 3):
        rows = torch.from_numpy(beside.Blocks(backbone, blocks)(images).flatten(1).numpy())
        torch.testing.assert_close(model.image(blocks)(rows), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["openai", "custom", "siglip"])
def test_the_class_texts_are_zero_shots_of_all_templates_and_names(kind: str) -> None:
    names = [["cat"], ["red panda", "panda"], ["dog"], ["707-320"]]
    model, backbone = made(kind, names=names)
    for own, found in zip(names, model.texts()(), strict=True):
        by_template = [
            unit(
                unit(backbone.model.encode_text(backbone.tokenizer([one.replace("{}", name) for name in own]))).mean(0)
            )
            for one in TEMPLATES
        ]
        torch.testing.assert_close(found, unit(torch.stack(by_template).mean(0)), rtol=1e-5, atol=1e-6)


def test_what_trains_is_the_modules_own_and_all_else_the_models() -> None:
    model, backbone = made()
    theirs = {f"visual.{name}": value for name, value in backbone.model.visual.named_parameters()}
    module = model.image(trains=lambda name: "ln_" in name)
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad is ("ln_" in name) is (name not in module.shared)
        assert (parameter is theirs[name]) is (name in module.shared)
        assert torch.equal(parameter, theirs[name])
    text = model.texts()
    learned = [name for name, parameter in text.named_parameters() if parameter.requires_grad]
    assert {name.split(".")[1] for name in learned} == {
        "token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection",
    }  # fmt: skip
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_of_the_last_blocks_nothing_below_them_is_there() -> None:
    model, _ = made()
    names = {name for name, _ in model.image(1).named_parameters()}
    assert {name for name in names if "resblocks" not in name} == {
        "visual.proj", "visual.ln_post.weight", "visual.ln_post.bias",
    }  # fmt: skip
    assert {name.split(".")[3] for name in names if "resblocks" in name} == {"2"}


def test_layers_may_be_put_into_the_blocks_that_run_and_the_model_stays_as_it_was() -> None:
    class Scaled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.scale = inner, nn.Parameter(torch.tensor([1.0]))
            self.drop = nn.Dropout(0.5)

        def forward(self, *given: Any, **named: Any) -> Any:
            return (self.scale * self.drop(self.inner(*given, **named)[0]), None)

    def change(blocks: Any) -> None:
        seen.append(len(blocks))
        for block in blocks:
            block.attn = Scaled(block.attn)

    seen: list[int] = []
    model, backbone = made()
    expected = backbone.model.encode_image(Preprocess(backbone.preprocess).finish(pixels()))
    parts = [model.image(trains=lambda name: name.endswith("scale"), change=change)]
    parts.append(model.image(2, lambda name: name.endswith("scale"), change))
    parts.append(model.texts(lambda name: name.endswith("scale"), change))
    assert seen == [3, 2, 3]
    for part in parts:
        learned = {name for name, parameter in part.named_parameters() if parameter.requires_grad}
        assert {name.split(".")[-1] for name in learned} == {"scale"}
        assert part.shared == {name for name, _ in [*part.named_parameters(), *part.named_buffers()]} - learned
    torch.testing.assert_close(parts[0].train(False)(pixels().flatten(1)), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(parts[2].train(False)(), parts[2].train(False)())
    assert not torch.equal(parts[2].train(True)(), parts[2].train(True)())
    assert type(backbone.model.visual.transformer.resblocks[0].attn) is nn.MultiheadAttention


def test_layers_of_the_model_are_as_in_inference_in_training_too() -> None:
    model, backbone = made("openai", RESNET)
    module, before = model.image(), {name: value.clone() for name, value in backbone.visual.named_buffers()}
    found = [module.train(mode)(pixels().flatten(1)) for mode in (True, False)]
    assert torch.equal(*found)
    assert all(torch.equal(value, before[name]) for name, value in backbone.visual.named_buffers())


def test_views_are_crops_in_training_and_the_images_outside_of_it() -> None:
    model, _ = made()
    rows = pixels(64).flatten(1)
    assert isinstance(model.views(1.0, flip=False), nn.Identity)
    views = model.views(0.5, flip=True)
    assert torch.equal(views.train(False)(rows), rows)
    seen = views.train(True)(rows)
    assert seen.shape == rows.shape
    assert 0 <= float(seen.min()) < float(seen.max()) <= 255
    assert not torch.equal(seen, views(rows))
    whole = model.views(1.0, flip=True).train(True)(rows).unflatten(1, (32, 32, 3))
    straight = pixels(64).float()
    same = [(whole - one).abs().amax((1, 2, 3)) < 1e-2 for one in (straight, straight.flip(2))]
    assert bool((same[0] ^ same[1]).all())
    assert 16 < int(same[1].sum()) < 48


def test_a_tower_that_can_t_be_run_block_by_block_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = models.backbone("openai")
    backbone.model.visual = nn.Linear(2, 2)
    monkeypatch.setattr("workflow.lib.towers.loading._loaded", lambda spec, device: backbone)
    encoder, model = towers({"model": "ViT-Z"}, {"names": [["a"], ["b"]], "templates": ["{}"]}, "cpu")
    assert not isinstance(encoder, str)
    assert model == "its image tower, a Linear, has no blocks that are known here"
