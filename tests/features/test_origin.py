"""Features of another backbone under the same name are told, and not used."""

import pytest

from workflow.lib.errors import UserError
from workflow.lib.features import origin

SPEC = {"model": "ViT-B-32", "pretrained": "openai", "batch_size": 64}
MADE = {"spec": SPEC, "templates": ["a {}."]}


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        (MADE, {"backbone": SPEC, "templates": ["a {}."]}),
        (MADE, {"backbone": SPEC | {"batch_size": 16, "precision": "fp32"}, "templates": ["a {}."]}),
        ({"spec": {"features": "a.npz"}}, {"backbone": {"features": "../b.npz"}, "templates": ["a {}."]}),
        ({"spec": {"model": "a.json", "weights": "a.pt"}}, {"backbone": {"model": "/b.json"}, "templates": []}),
        ({}, {"backbone": SPEC, "templates": []}),
        (MADE, {}),
    ],
)
def test_the_same_features(metadata, wanted):
    origin.check(metadata, wanted, "x")


@pytest.mark.parametrize(
    ("backbone", "templates", "message"),
    [
        (SPEC | {"model": "ViT-L-14"}, ["a {}."], "x: the model was ViT-B-32 when .*, and is ViT-L-14 in this study"),
        (SPEC | {"pretrained": "laion"}, ["a {}."], "pretrained was openai"),
        (SPEC | {"precision": "fp16"}, ["a {}."], "the precision was fp32"),
        (SPEC | {"quick_gelu": False}, ["a {}."], "the quick_gelu of the backbone was the model's when .* is False in"),
        (SPEC | {"preprocess": {"size": 300}}, ["a {}."], "the preprocess of the backbone was the model's when"),
        (SPEC, ["the {}."], r"the list of templates was \['a {}.'\]"),
        ({"features": "a.npz"}, ["a {}."], "the model was ViT-B-32 .* is none, but vectors from elsewhere"),
        ({"model": "a.json", "weights": "a.pt"}, ["a {}."], "the model was ViT-B-32 .* is one by path"),
    ],
)
def test_others(backbone, templates, message):
    with pytest.raises(UserError, match=message):
        origin.check(MADE, {"backbone": backbone, "templates": templates}, "x")


@pytest.mark.parametrize(("length", "shown"), [(60, "a" * 60), (61, "a" * 60 + "…"), (200, "a" * 60 + "…")])
def test_of_a_long_value_the_beginning_is_told(length, shown):
    with pytest.raises(UserError, match=f"the model was ViT-B-32 when these features were made, and is {shown} in"):
        origin.check(MADE, {"backbone": SPEC | {"model": "a" * length}, "templates": ["a {}."]}, "x")


@pytest.mark.parametrize(("theirs", "told"), [("0" * 16, True), ("f" * 16, False), ("", False)])
def test_features_of_another_list_of_images_are_told(tmp_path, theirs, told):
    index = tmp_path / "index.json"
    wanted = {"backbone": SPEC, "templates": ["a {}."], "index": str(index)}
    metadata = MADE | ({"index": theirs} if theirs else {})
    origin.check(metadata, wanted, "x")  # there is no index to hold them to
    index.write_text(f'{{\n  "fingerprint": "{"f" * 16}",\n  "classnames": []}}')
    if told:
        with pytest.raises(UserError, match=f"x: these features were made from another list of images than {index}; "):
            origin.check(metadata, wanted, "x")
    else:
        origin.check(metadata, wanted, "x")
