"""Open towers: before the projection and token by token, held against the models themselves and a plain loop."""

from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch

from tests.encoding import tiny
from workflow.lib.encoding.beside import Vectors
from workflow.lib.encoding.open_tower import OpenTower, spatial_logits

SIZE = tiny.CONFIG["vision_cfg"]
VIT, RESNET = {}, {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}}
LATE = {"vision_cfg": SIZE | {"final_ln_after_pool": True, "pool_type": "avg"}}
TOWERS = [VIT, RESNET, LATE]


def model_of(folder, changes):
    """A model of some kind, with random weights: a ResNet's are not all zero at the end of its blocks."""
    tiny.make(folder, **changes)
    model = tiny.random_model(folder / "tinyclip.json")
    for name, weight in model.visual.named_parameters():
        if "bn3" in name or "c_proj.bias" in name or "ln_" in name:
            torch.nn.init.normal_(weight)
    return model


@pytest.fixture(scope="module", params=TOWERS, ids=["vit", "resnet", "norm_after_pool"])
def model(request, tmp_path_factory):
    return model_of(tmp_path_factory.mktemp("tower"), request.param)


@pytest.fixture(scope="module")
def images(model):
    return torch.randn(5, 3, *[model.visual.image_size] * 2 if isinstance(model.visual.image_size, int) else (32, 32))


@torch.no_grad()
def test_what_stands_before_the_projection_is_projected_to_the_embedding(model, images):
    tower = OpenTower(model.visual)
    before, tokens = tower(images)
    assert tokens.shape[2] == before.shape[1] == tower.weight.shape[0]
    torch.testing.assert_close(tower.projected(before), model.encode_image(images), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_the_model_is_as_it_was(model, images):
    first = model.encode_image(images)
    OpenTower(model.visual)(images)
    assert torch.equal(model.encode_image(images), first)


def tokens_one_by_one(model, images):
    """The embedding of each token of each image, in a loop, from hooks on the model's own layers."""
    visual, seen = model.visual, []
    if hasattr(visual, "attnpool"):
        hook = visual.attnpool.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    else:
        hook = visual.transformer.register_forward_hook(lambda _, __, made: seen.append(made))
    model.encode_image(images)
    hook.remove()
    return [[embedded(visual, seen[0][i], p) for p in range(1, positions(seen[0]) + 1)] for i in range(len(images))]


def positions(maps):
    return maps.shape[2] * maps.shape[3] if maps.ndim == 4 else maps.shape[1] - 1


def embedded(visual, of_image, place):
    """Token `place` of one image, from 1: by ln_post and the projection, or as a query of the attention pool."""
    if of_image.ndim == 2:
        return visual.ln_post(of_image[place]) @ visual.proj
    pool = visual.attnpool
    x = of_image.flatten(1).T
    x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding
    query, keys, values = pool.q_proj(x[place]), pool.k_proj(x), pool.v_proj(x)
    heads = []
    for part in torch.arange(x.shape[1]).chunk(pool.num_heads):
        weights = (keys[:, part] @ query[part] / len(part) ** 0.5).softmax(0)
        heads.append(weights @ values[:, part])
    return pool.c_proj(torch.cat(heads))


@torch.no_grad()
def test_tokens_go_through_the_same_head_one_by_one(model, images):
    tower = OpenTower(model.visual)
    found = tower.projected(tower(images)[1])
    expected = torch.stack([torch.stack(tokens) for tokens in tokens_one_by_one(model, images)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_spatial_logits_are_a_loop_over_tokens_and_classes(model, images):
    text = torch.nn.functional.normalize(torch.randn(3, model.encode_image(images).shape[1]), dim=1)
    tower = OpenTower(model.visual)
    before, tokens = tower(images)
    found = spatial_logits(tower.projected(before), tower.projected(tokens), text, 20.0)
    for i, (g, own) in enumerate(zip(model.encode_image(images), tokens_one_by_one(model, images), strict=True)):
        g, own = g / g.norm(), [token / token.norm() for token in own]
        e = torch.tensor([[torch.exp(2 * p @ t) for t in text] for p in own])
        reads = torch.stack([sum(e[p, k] / e[p].sum() * text[k] for k in range(3)) for p in range(len(own))])
        for k in range(3):
            first = sum(g @ p * e[n, k] / e[:, k].sum() for n, p in enumerate(own))
            second = (reads.mean(0) + reads.max(0).values) @ text[k]
            torch.testing.assert_close(found[i, :, k], 20 * torch.stack([first, second]), rtol=1e-4, atol=1e-4)


def backbone_of(model):
    """As much of a backbone as an array beside the features asks for."""
    return SimpleNamespace(visual=model.visual, device=torch.device("cpu"), dtype=torch.float32, logit_scale=20.0)


@torch.no_grad()
def test_the_projection_that_is_stored_makes_the_embedding_of_what_is_stored(model, images):
    beside = Vectors(backbone_of(model), "pre", None)
    weight, bias = beside.projection
    found = beside(images).numpy() @ weight + bias
    assert found == pytest.approx(model.encode_image(images).numpy(), rel=1e-4, abs=1e-5)


@torch.no_grad()
def test_the_text_of_a_class_is_the_mean_of_unit_prompts(model, images):
    """Prompts of unequal lengths: the longest has no more to say."""
    dim = model.encode_image(images).shape[1]
    text = np.random.default_rng(0).normal(size=(3, 4, dim)) * np.array([1, 2, 5, 20])[:, None]
    means = np.stack([np.mean([prompt / np.linalg.norm(prompt) for prompt in own], axis=0) for own in text])
    unit_text = torch.tensor(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=torch.float32)
    tower = OpenTower(model.visual)
    before, tokens = tower(images)
    expected = spatial_logits(tower.projected(before), tower.projected(tokens), unit_text, 20.0)
    found = Vectors(backbone_of(model), "spatial_logits", lambda: text.astype(np.float32))(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_tower_without_a_projection_says_so():
    with pytest.raises(ValueError, match="its image tower, a Linear, has no last projection that is known here"):
        OpenTower(torch.nn.Linear(2, 2))


def test_a_tower_that_pools_by_attention_has_no_tokens_for_the_head():
    visual = open_clip.transformer.VisionTransformer(
        32, 16, 32, 1, 2, 4.0, attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2, output_dim=16
    )
    tower = OpenTower(visual)
    assert "pools by attention" in tower.no_tokens
    with torch.no_grad():
        x = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(tower.projected(tower(x)[0]), visual(x))
