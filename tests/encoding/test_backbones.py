"""Backbones: any open_clip model, its weights by tag or by path; what can't be loaded is named in one line."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip import factory, pretrained
from safetensors.torch import load_file, save_file

from tests.encoding import tiny
from workflow.lib import files
from workflow.lib.encoding import backbones, weights
from workflow.lib.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tinyclip")


@pytest.fixture(scope="module")
def spec(folder):
    return tiny.make(folder)


def refuse(*_, **__):
    raise ConnectionRefusedError(111, "Connection refused")


# --- the spec, as the study file gives it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "good",
    [
        {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
        {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "weights": "x.bin", "precision": "bf16"},
        {"model": "a/model.json", "weights": "a/model.safetensors", "batch_size": 1},
        {"model": "hf-hub:somebody/something"},
        {"features": "path/{dataset}.npz"},
        {"features": "path/{dataset}.npz", "logit_scale": 4.6, "allow_zeros": True},
        {
            "model": "ViT-L-14",
            "weights": "x.pt",
            "quick_gelu": False,
            "preprocess": {"size": [224, 200], "std": [1] * 3},
        },
    ],
)
def test_specs_that_are_fine(good):
    backbones.check(good)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, r"model: is wanted \(or features\)"),
        ({"pretrained": "openai"}, "model: is wanted"),
        ({"model": "ViT-B-32"}, "pretrained or weights: one is wanted"),
        ({"model": "ViT-B-32", "pretraind": "openai"}, "pretraind: not a key of a backbone; did you mean pretrained?"),
        ({"model": 32, "pretrained": "openai"}, "model: 32 is not an open_clip name"),
        ({"model": "", "pretrained": "openai"}, "model: '' is not an open_clip name"),
        ({"model": "ViT-B-32", "weights": "x.npz"}, "weights: 'x.npz' ends in none of .safetensors, .pt, .pth, .bin"),
        ({"model": "ViT-B-32", "weights": "x.pt", "precision": "int8"}, "'int8' is none of fp32, bf16, fp16"),
        ({"model": "ViT-B-32", "weights": "x.pt", "batch_size": 0}, "batch_size: 0 is not between 1 and 65536"),
        ({"model": "ViT-B-32", "weights": "x.pt", "batch_size": True}, "batch_size: True is not images in one"),
        ({"model": "hf-hub:a/b", "weights": "x.pt"}, "weights: has no meaning beside hf-hub:a/b"),
        ({"features": "x.npz", "model": "ViT-B-32"}, "model: has no meaning beside features"),
        ({"features": "x.npz", "logit_scale": 0}, "logit_scale: 0 is not a number above 0"),
        ({"features": "x.npz", "logit_scale": "a"}, "logit_scale: 'a' is not a number beside features"),
        ({"features": "x.npz", "allow_zeros": 1}, "allow_zeros: 1 is not beside features, whether rows of zeros"),
        ({"model": "ViT-B-32", "weights": "x.pt", "logit_scale": 100}, "logit_scale: has no meaning without features"),
        ({"model": "ViT-B-32", "weights": "x.pt", "quick_gelu": "yes"}, "quick_gelu: 'yes' is not whether"),
        ({"model": "ViT-B-32", "weights": "x.pt", "preprocess": {}}, "preprocess: {} is not a mapping with some of"),
        ({"model": "ViT-B-32", "weights": "x.pt", "preprocess": {"men": 1}}, "preprocess: men is not one of its keys"),
        (
            {"model": "ViT-B-32", "weights": "x.pt", "preprocess": {"mean": [1, 2]}},
            r"preprocess: mean: \[1, 2\] is not a list of three",
        ),
        (
            {"model": "ViT-B-32", "weights": "x.pt", "preprocess": {"std": [1, 0, 1]}},
            r"preprocess: std: \[1, 0, 1\] is not a list of three numbers above 0",
        ),
        (
            {"model": "ViT-B-32", "weights": "x.pt", "preprocess": {"interpolation": "nearest"}},
            "preprocess: interpolation: 'nearest' is not bicubic or bilinear",
        ),
        (
            {"model": "ViT-B-32", "weights": "x.pt", "preprocess": {"resize_mode": "crop"}},
            "preprocess: resize_mode: 'crop' is not shortest or longest or squash",
        ),
        (
            {"model": "ViT-B-32", "weights": "x.pt", "preprocess": {"size": [224, 224, 3]}},
            r"preprocess: size: \[224, 224, 3\] is not pixels, or a list of height and width, from 1 to 4096",
        ),
    ],
)
def test_specs_that_are_wrong_name_the_key_and_what_is_allowed(wrong, message):
    with pytest.raises(UserError, match=message):
        backbones.check(wrong)


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_model_of_ones_own_by_config_and_weights(spec, folder):
    found = backbones.load(spec, "cpu")
    expected = tiny.random_model(folder / "tinyclip.json")
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(found.encode_images(images), expected.encode_image(images))
    assert found.fingerprint == files.sha256(spec["weights"])
    assert found.logit_scale == pytest.approx(1 / 0.07)
    assert json.loads(found.preprocessing)["size"] == [32, 32]
    assert not any(parameter.requires_grad for parameter in found.model.parameters())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_saved_by_torch_are_as_good(spec, folder, suffix, wrapped):
    state, path = load_file(spec["weights"]), folder / f"weights{suffix}"
    torch.save({"epoch": 3, "state_dict": state} if wrapped else state, path)
    images = torch.rand(1, 3, 32, 32)
    ours = backbones.load(spec | {"weights": str(path)}, "cpu").encode_images(images)
    torch.testing.assert_close(ours, backbones.load(spec, "cpu").encode_images(images))


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_precision_is_that_of_the_weights(spec, precision, dtype):
    found = backbones.load(spec | {"precision": precision}, "cpu")
    assert found.model.visual.conv1.weight.dtype == dtype
    assert found.dtype == dtype
    assert found.encode_images(torch.rand(1, 3, 32, 32)).dtype == torch.float32


def test_a_folder_with_config_and_weights(spec, tmp_path):
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    config = {"model_cfg": tiny.CONFIG, "preprocess_cfg": preprocess}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    shutil.copy(spec["weights"], tmp_path / "open_clip_model.safetensors")
    found = backbones.load({"model": f"local-dir:{tmp_path}"}, "cpu")
    images = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(found.encode_images(images), backbones.load(spec, "cpu").encode_images(images))
    assert json.loads(found.preprocessing)["mean"] == [0.5, 0.5, 0.5]


def test_without_a_file_the_fingerprint_is_that_of_the_tensors(spec, tmp_path):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": tiny.CONFIG}))
    prints = set()
    for change in (0.0, 0.0, 1.0):
        state = load_file(spec["weights"])
        state["logit_scale"] += change
        save_file(state, tmp_path / "open_clip_model.safetensors")
        prints.add(backbones.load({"model": f"local-dir:{tmp_path}"}, "cpu").fingerprint)
    assert len(prints) == 2


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A ViT-B-32 with random weights, and the checkpoint that it was saved to."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    path = tmp_path_factory.mktemp("vit") / "open_clip_pytorch_model.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def test_vit_b_32_from_a_checkpoint_is_the_same_by_path_and_by_tag(vit, monkeypatch):
    model, path = vit
    name = {"model": "ViT-B-32"}
    by_path = backbones.load(name | {"weights": str(path), "pretrained": "laion2b_s34b_b79k"}, "cpu")
    monkeypatch.setattr(pretrained, "hf_hub_download", lambda **_: str(path))
    by_tag = backbones.load(name | {"pretrained": "laion2b_s34b_b79k"}, "cpu")
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        expected = model.encode_image(images)
    torch.testing.assert_close(by_path.encode_images(images), expected)
    torch.testing.assert_close(by_tag.encode_images(images), expected)
    assert by_path.fingerprint == by_tag.fingerprint == files.sha256(path)
    assert by_path.preprocessing == by_tag.preprocessing
    tokens = by_path.tokenizer(["a photo of a 707-320, a type of aircraft."])
    with torch.inference_mode():
        torch.testing.assert_close(by_path.encode_tokens(tokens), model.encode_text(tokens))


def test_a_tag_beside_a_path_says_how_images_are_preprocessed(spec, monkeypatch):
    config = {"hf_hub": "a/b/", "mean": (0.5, 0.5, 0.5), "std": (0.1, 0.1, 0.1), "interpolation": "bilinear", "size": 9}
    monkeypatch.setattr(weights.open_clip, "get_pretrained_cfg", lambda *_: config)
    monkeypatch.setattr(pretrained, "hf_hub_download", refuse)
    found = json.loads(backbones.load(spec | {"pretrained": "mine"}, "cpu").preprocessing)
    assert (found["mean"], found["interpolation"], found["size"]) == ([0.5] * 3, "bilinear", [32, 32])


# --- what can go wrong -----------------------------------------------------------------------------------------------


def error_of(wrong):
    with pytest.raises(UserError) as error:
        backbones.load(wrong, "cpu")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_model_is_answered_with_the_nearest_names():
    text = error_of({"model": "ViT-B32", "pretrained": "openai"})
    assert text.startswith("model: open_clip knows no 'ViT-B32'; nearest: ")
    assert "ViT-B-32" in text


def test_an_unknown_tag_is_answered_with_the_models_tags():
    text = error_of({"model": "ViT-B-32", "pretrained": "laion3b"})
    assert "ViT-B-32 has no tag 'laion3b'" in text
    assert "laion2b_s34b_b79k" in text


def test_weights_alone_of_a_model_whose_tags_differ_are_refused_with_the_tags():
    text = error_of({"model": "ViT-B-32", "weights": "openai.safetensors"})
    assert text.startswith("weights: ViT-B-32 and its tags differ in quick_gelu, and the file does not say its own")
    assert "openai*" in text


def test_without_a_network_the_error_says_what_from_where_and_what_instead(monkeypatch):
    monkeypatch.setattr(pretrained, "hf_hub_download", refuse)
    text = error_of({"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"})
    place = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")["hf_hub"]
    assert f"could not download the weights of ViT-B-32 laion2b_s34b_b79k from {place}" in text
    assert "Connection refused" in text
    assert text.endswith("add `weights: path`")


def test_without_a_network_a_model_from_a_hub_is_named_too(monkeypatch):
    monkeypatch.setattr(pretrained, "hf_hub_download", refuse)
    text = error_of({"model": "hf-hub:somebody/something"})
    assert "could not download hf-hub:somebody/something" in text
    assert "Connection refused" in text
    assert "local-dir:FOLDER" in text


def test_a_tokenizer_that_needs_a_package_is_named_before_anything_is_fetched(monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'transformers'")

    monkeypatch.setattr(factory, "HFTokenizer", missing)
    text = error_of({"model": "ViT-B-16-SigLIP", "pretrained": "webli"})
    assert text == (
        "model: the tokenizer of ViT-B-16-SigLIP can't be loaded: No module named 'transformers'; install what "
        "requirements.lock lists: python -m pip install -r requirements.lock"
    )


def write(path, content):
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"<html>moved</html>", None])
def test_a_damaged_file_of_weights_is_named(spec, tmp_path, suffix, content):
    if content is None:
        whole = tmp_path / f"whole{suffix}"
        state = load_file(spec["weights"])
        save_file(state, whole) if suffix == ".safetensors" else torch.save(state, whole)
        content = whole.read_bytes()[:5000]
    path = write(tmp_path / f"damaged{suffix}", content)
    text = error_of(spec | {"weights": path})
    assert text.startswith("weights: ")
    assert path in text


def test_weights_of_another_model_are_named_with_what_does_not_fit(spec, tmp_path):
    other = tiny.make(tmp_path, embed_dim=24)
    text = error_of(spec | {"weights": other["weights"]} | {"model": spec["model"]})
    assert text.startswith(f"weights: {other['weights']} do not fit model tinyclip: ")
    assert "text_projection" in text


def test_weights_with_a_missing_tensor_are_refused(spec, tmp_path):
    state = load_file(spec["weights"])
    del state["visual.proj"]
    save_file(state, tmp_path / "x.safetensors")
    text = error_of(spec | {"weights": str(tmp_path / "x.safetensors")})
    assert "do not fit" in text
    assert "visual.proj" in text


def scripted(spec, path):
    """The model of `spec` as a TorchScript archive, as OpenAI published its own."""
    model = backbones.load(spec, "cpu").model
    example = {"encode_image": torch.rand(1, 3, 32, 32), "encode_text": torch.zeros(1, 24, dtype=torch.long)}
    torch.jit.trace_module(model.half().float(), example).save(str(path))


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_read_without_running_it(spec, tmp_path, monkeypatch):
    scripted(spec, tmp_path / "scripted.pt")
    monkeypatch.setattr(torch.jit, "load", refuse)
    found = backbones.load(spec | {"weights": str(tmp_path / "scripted.pt")}, "cpu")
    images = torch.rand(1, 3, 32, 32)
    expected = backbones.load(spec, "cpu").encode_images(images)
    torch.testing.assert_close(found.encode_images(images), expected, rtol=0.02, atol=0.02)
    assert found.fingerprint == files.sha256(tmp_path / "scripted.pt")


@pytest.mark.filterwarnings("ignore")
def test_damaged_torchscript_and_that_of_another_model_are_named(spec, tmp_path):
    scripted(spec, tmp_path / "scripted.pt")
    other = tiny.make(tmp_path, embed_dim=24)
    text = error_of(other | {"weights": str(tmp_path / "scripted.pt")})
    assert "scripted.pt do not fit model tinyclip" in text
    with zipfile.ZipFile(tmp_path / "scripted.pt") as whole, zipfile.ZipFile(tmp_path / "part.pt", "w") as part:
        for name in whole.namelist()[5:]:
            part.writestr(name, whole.read(name))
    assert "part.pt can't be loaded into model tinyclip: KeyError" in error_of(
        spec | {"weights": f"{tmp_path}/part.pt"}
    )


@pytest.mark.parametrize("extra", [np.float64(3.0), argparse.Namespace(lr=1)])
def test_what_stands_beside_the_tensors_is_named_with_the_remedy(spec, tmp_path, extra):
    torch.save({"epoch": extra, "state_dict": load_file(spec["weights"])}, tmp_path / "x.pt")
    text = error_of(spec | {"weights": str(tmp_path / "x.pt")})
    assert re.search(r"hold more than tensors \((numpy\S+scalar|argparse\.Namespace)\), and are never unpickled", text)
    assert "x1b" not in text
    assert len(text) <= 600
    command = text[text.index("python -c") :].removeprefix("python ")
    subprocess.run([sys.executable, *shlex.split(command)], cwd=tmp_path, check=True)
    backbones.load(spec | {"weights": str(tmp_path / "tensors.pt")}, "cpu")


def test_a_tilde_is_the_home_folder_in_every_path(spec, monkeypatch):
    folder = Path(spec["weights"]).parent
    monkeypatch.setenv("HOME", str(folder))
    found = {"model": "~/tinyclip.json", "weights": "~/tinyclip.safetensors"}
    assert backbones.expanded(found) == spec
    assert backbones.load(found, "cpu").fingerprint == files.sha256(spec["weights"])
    assert backbones.expanded({"model": "local-dir:~/x"}) == {"model": f"local-dir:{folder}/x"}
    assert backbones.expanded({"features": "~/{dataset}.npz"}) == {"features": f"{folder}/{{dataset}}.npz"}
    assert backbones.expanded({"model": "hf-hub:a/b"}) == {"model": "hf-hub:a/b"}


def test_a_checkpoint_is_never_unpickled(spec, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"state_dict": Trap()}, tmp_path / "x.pt")
    assert "never unpickled" in error_of(spec | {"weights": str(tmp_path / "x.pt")})
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "model: no file"),
        (b"{", "not JSON"),
        (b"[]", "lacks embed_dim, vision_cfg, text_cfg"),
        (b'{"embed_dim": 8, "text_cfg": {}}', "lacks vision_cfg"),
    ],
)
def test_a_wrong_config_file_is_named(spec, tmp_path, content, message):
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content)
    text = error_of(spec | {"model": str(path)})
    assert message in text
    assert str(path) in text
    assert path not in factory._MODEL_CONFIG_PATHS


def test_missing_files_and_folders_are_named(spec, tmp_path):
    assert error_of(spec | {"weights": f"{tmp_path}/no.pt"}) == f"weights: no file {tmp_path}/no.pt"
    assert error_of({"model": f"local-dir:{tmp_path}"}) == f"model: no file {tmp_path}/open_clip_config.json"


def test_a_gpu_that_is_not_there_is_not_silently_replaced(spec, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="cuda is asked for, but torch finds no GPU"):
        backbones.load(spec, "cuda")
    assert backbones.choose_device("auto").type == "cpu"
