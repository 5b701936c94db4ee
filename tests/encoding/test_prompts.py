"""Prompts: which texts a model reads, and whether it can tell the classes apart."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
from timm.data.imagenet_info import ImageNetInfo

from methods import unit
from tests.encoding import tiny
from workflow.lib.data.index import Index
from workflow.lib.data.names import WORDNET, apply
from workflow.lib.encoding import backbones, extraction, prompts
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.errors import UserError

TEMPLATES = ["a photo of a {}.", "the {}, drawn."]
LONG = "a very long name of a very particular kind of bird that somebody once saw in the woods behind the house"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return backbones.load(tiny.make(tmp_path_factory.mktemp("tinyclip")), "cpu")


def index(*names: str) -> Index:
    return Index(names, Path(), {"train": [("a.jpg", 0)]})


def embedded(backbone: Backbone, found: Index, templates: list[str] = TEMPLATES) -> np.ndarray:
    def of_names(names):
        return extraction.embed_texts(backbone, names, templates, batch_size=8, threads=1)

    return prompts.embed(found, templates, backbone.tokenizer, of_names)


def test_with_one_name_each_they_are_the_model_s_own(backbone: Backbone, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        text = embedded(backbone, index("owl", "elk"))
    wanted = backbone.encode_tokens(backbone.tokenizer(["a photo of a elk.", "the elk, drawn."]))
    np.testing.assert_allclose(text[1], wanted, rtol=1e-5, atol=1e-6)
    assert (
        "prompts: 2 classes, 2 templates, as 'a photo of a owl.', 'the owl, drawn.', 'a photo of a elk.'" in caplog.text
    )


def test_several_names_of_a_class_are_averaged_in_each_template(backbone: Backbone) -> None:
    found = replace(index("owl", "elk"), names=(("owl",), ("elk", "moose")))
    text = embedded(backbone, found)
    alone = embedded(backbone, index("owl", "elk", "moose"))
    assert text.shape == (2, 2, 16)
    assert text.dtype == np.float32
    np.testing.assert_allclose(unit(text[0]), unit(alone[0]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(text[1], (unit(alone[1]) + unit(alone[2])) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (
            ("Cat", "cat"),
            "the classes 'Cat' and 'cat' are the same to the model, 'a photo of a Cat.' and 'a photo of a cat.': "
            "it tells no capitals; give one another name by `classnames`",
        ),
        (("owl", f"{LONG} by day", f"{LONG} by night"), "by night.': it reads a text only so far; give one another"),
        (("owl", "snow  owl", "snow owl"), "the classes 'snow  owl' and 'snow owl' are the same to the model"),
    ],
)
def test_classes_that_the_model_can_t_tell_apart_are_both_named(
    backbone: Backbone, names: tuple[str, ...], why: str
) -> None:
    with pytest.raises(UserError) as error:
        embedded(backbone, index(*names))
    assert why in str(error.value)


def test_a_template_that_leaves_room_tells_long_names_apart(backbone: Backbone) -> None:
    long = "a photo of a thing in the woods behind the house of somebody, and it is, as far as one can tell, a {}"
    assert embedded(backbone, index("owl", "elk"), [long, "{}"]).shape == (2, 2, 16)
    with pytest.raises(UserError, match="it reads a text only so far"):
        embedded(backbone, index("owl", "elk"), [long])


def test_a_class_with_the_names_of_another_in_another_order_is_the_same(backbone: Backbone) -> None:
    with pytest.raises(UserError, match="'elk' and 'moose' are the same to the model"):
        embedded(backbone, replace(index("elk", "moose"), names=(("elk", "moose"), ("moose", "elk"))))


def test_no_two_classes_of_imagenet_are_the_same_to_clip() -> None:
    """open_clip calls two of them missile and two of them sunglasses."""
    ids = tuple(ImageNetInfo("imagenet-1k").label_names())
    named = apply(index(*ids), WORDNET, by_folders=True)
    assert named.classnames[:2] == ("tench", "goldfish")
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    prompts.check(named.classnames, named.prompt_names(), ["a photo of a {}."], tokenizer)
