"""Recipes: what weights want of the preprocessing and the activation, over all that open_clip knows."""

import json
import shutil

import open_clip
import pytest
import torch

from tests.encoding import tiny
from workflow.lib.encoding import backbones, recipes
from workflow.lib.errors import UserError

PAIRS = open_clip.list_pretrained()
MODELS = sorted({model for model, _ in PAIRS})


def wants(model, tag):
    """What open_clip says of a tag, read from its own table."""
    config = open_clip.get_pretrained_cfg(model, tag)
    preprocess = {
        key: [*map(float, config[key])] if key in ("mean", "std") else config[key]
        for key in ("mean", "std", "interpolation", "resize_mode")
    }
    own = open_clip.get_model_config(model).get("quick_gelu", False)
    return preprocess, config.get("quick_gelu", False) or own


def test_every_tag_is_its_recipe_with_the_file_from_anywhere():
    assert len(PAIRS) > 150
    for model, tag in PAIRS:
        preprocess, quick_gelu = wants(model, tag)
        for spec in ({"pretrained": tag}, {"pretrained": tag, "weights": "mine.pt"}):
            found = recipes.of(model, spec)
            assert (found.preprocess, found.quick_gelu, found.size) == (preprocess, quick_gelu, None), (model, tag)
            assert found.source == f"the tag {tag}"


def test_weights_alone_are_an_error_or_what_every_tag_and_the_model_itself_want():
    agreed, refused = [], []
    for model in MODELS:
        tags = open_clip.list_pretrained_tags_by_model(model)
        wanted = [wants(model, tag) for tag in tags]
        own = open_clip.get_model_config(model).get("quick_gelu", False)
        try:
            found = recipes.of(model, {"weights": "mine.pt"})
        except UserError as error:
            text = str(error)
            assert text.startswith(f"weights: {model} and its tags differ in ")
            assert all(tag in text for tag in tags), text
            assert any(each != wanted[0] for each in wanted) or any(quick != own for _, quick in wanted), model
            refused.append(model)
        else:
            assert all((found.preprocess, found.quick_gelu) == each for each in wanted), model
            assert found.quick_gelu == own
            agreed.append(model)
    assert {"ViT-B-32", "ViT-L-14", "ViT-H-14", "RN50", "ViT-H-14-quickgelu"} <= set(refused)
    assert {"MobileCLIP-S1", "ViT-B-16-SigLIP", "ViT-B-32-quickgelu", "roberta-ViT-B-32"} <= set(agreed)


def test_names_that_end_in_quickgelu_have_it():
    quick = [(model, tag) for model, tag in PAIRS if model.endswith("-quickgelu")]
    assert len(quick) > 10
    assert all(recipes.of(model, {"pretrained": tag}).quick_gelu for model, tag in quick)
    assert all(recipes.of(model.removesuffix("-quickgelu"), {"pretrained": tag}).quick_gelu for model, tag in quick)


def test_mobileclip_by_path_is_not_preprocessed_with_the_defaults():
    found = recipes.of("MobileCLIP-S1", {"weights": "w.safetensors"})
    assert (found.preprocess["mean"], found.preprocess["std"]) == ([0.0] * 3, [1.0] * 3)
    assert found.preprocess["interpolation"] == "bilinear"


def test_what_is_said_by_hand_needs_no_tag_and_goes_before_one():
    by_hand = recipes.of("ViT-B-32", {"weights": "w.pt", "quick_gelu": True})
    assert by_hand.quick_gelu is True
    assert by_hand.source == "the tags of ViT-B-32, which agree, quick_gelu by hand"
    spec = {"weights": "w.pt", "preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    with pytest.raises(UserError, match=r"ViT-L-14 and its tags differ in quick_gelu, .*`quick_gelu: true \| false`"):
        recipes.of("ViT-L-14", spec)
    found = recipes.of("ViT-L-14", spec | {"quick_gelu": False})
    assert (found.preprocess["mean"], found.preprocess["interpolation"]) == ([0.5] * 3, "bicubic")
    before = recipes.of("ViT-L-14", {"pretrained": "openai", "preprocess": {"size": [300, 200]}, "quick_gelu": False})
    assert (before.quick_gelu, before.size) == (False, (300, 200))


def test_the_message_on_preprocessing_says_which_keys_would_do():
    with pytest.raises(UserError, match=r"`pretrained: TAG` or `preprocess: \{resize_mode\}`; tags: .*dfn5b"):
        recipes.of("ViT-H-14-quickgelu", {"weights": "w.pt"})


def test_a_model_of_ones_own_has_no_tags_and_is_as_its_config_says():
    found = recipes.of("something_of_mine", {"weights": "w.pt"})
    assert (found.preprocess, found.quick_gelu) == ({}, None)


# --- in the model ----------------------------------------------------------------------------------------------------


@pytest.fixture
def tags(monkeypatch):
    """Tags of the tiny model, as if open_clip knew it."""
    known = {}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: list(known))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda _, tag: known.get(tag))
    return known


def tag(mean=0.5, **more):
    return {"mean": (mean,) * 3, "std": (0.1,) * 3, "interpolation": "bilinear", "resize_mode": "squash", **more}


def test_the_activation_is_that_of_the_tag(spec, tags):
    tags["quick"], tags["plain"] = tag(quick_gelu=True), tag()
    images = torch.rand(2, 3, 32, 32)
    quick, plain = (backbones.load(spec | {"pretrained": name}, "cpu") for name in ("quick", "plain"))
    assert (quick.activation, plain.activation) == ("QuickGELU", "GELU")
    assert not torch.equal(quick.encode_images(images), plain.encode_images(images))
    by_hand = backbones.load(spec | {"quick_gelu": True}, "cpu")
    assert torch.equal(quick.encode_images(images), by_hand.encode_images(images))


def test_weights_alone_stop_before_anything_is_loaded(spec, tags):
    tags["quick"], tags["plain"] = tag(quick_gelu=True), tag(mean=0.4)
    with pytest.raises(UserError, match=r"differ in mean, quick_gelu.*tags \(\*: QuickGELU\): quick\*, plain$"):
        backbones.load(spec | {"weights": "no/such/file.pt"}, "cpu")


def test_a_quick_gelu_without_effect_is_refused(spec, monkeypatch):
    monkeypatch.setattr(backbones, "activations", lambda _: "GELU")
    with pytest.raises(UserError, match="quick_gelu: true has no effect on tinyclip, whose layers have GELU"):
        backbones.load(spec | {"quick_gelu": True}, "cpu")


def test_everything_said_by_hand_reaches_the_preprocessing(spec):
    by_hand = {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1], "interpolation": "bilinear", "resize_mode": "squash"}
    found = backbones.load(spec | {"preprocess": {**by_hand, "size": 48}}, "cpu")
    steps = found.preprocess.transforms
    assert "Resize(size=(48, 48), interpolation=bilinear" in str(steps[0])
    assert "CenterCrop" not in str(steps)
    assert "Normalize(mean=[0.1, 0.2, 0.3], std=[1, 1, 1])" in str(steps[-1])
    assert found.encode_images(torch.rand(1, 3, 48, 48)).shape == (1, 16)


def test_what_a_folder_brings_can_be_said_otherwise_by_hand(spec, tmp_path):
    config = {"model_cfg": tiny.CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    shutil.copy(spec["weights"], tmp_path / "open_clip_model.safetensors")
    folder = {"model": f"local-dir:{tmp_path}"}
    found = backbones.load(folder | {"quick_gelu": True, "preprocess": {"std": [0.1] * 3}}, "cpu")
    preprocess = json.loads(found.preprocessing)
    assert (found.activation, preprocess["mean"], preprocess["std"]) == ("QuickGELU", [0.5] * 3, [0.1] * 3)
    own = backbones.load(folder, "cpu")
    assert (own.activation, own.recipe) == ("GELU", "the model's own config")


def test_position_embeddings_that_are_stretched_are_told_and_others_not(spec, caplog):
    with caplog.at_level("INFO", logger="workflow"):
        backbones.load(spec, "cpu")
        assert "another size" not in caplog.text
        backbones.load(spec | {"preprocess": {"size": 64}}, "cpu")
    assert "another size: resizing position embedding grid-size from (2, 2) to (4, 4)" in caplog.text
    assert "Instantiating" not in caplog.text
