"""Extraction: the same features as a plain loop over images, in fewer seconds."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from workflow.lib import files
from workflow.lib.data.index import Index, read_fingerprint, write_index
from workflow.lib.encoding import backbones, extraction, pipeline, shards
from workflow.lib.encoding.encoder import Encoder
from workflow.lib.encoding.images import Preprocess
from workflow.lib.errors import UserError
from workflow.lib.features import store
from workflow.lib.jobs import entry
from workflow.scripts import features as job_script

TEMPLATES = ["a photo of a {}.", "a drawing of the {}, {{}}."]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Images of several kinds and shapes: 10 to train with, 3 to test with."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    kinds = [("RGB", "jpg"), ("RGB", "png"), ("L", "png"), ("RGBA", "png"), ("P", "png")]
    entries = []
    for number in range(13):
        mode, suffix = kinds[number % len(kinds)]
        height, width = rng.integers(20, 90, 2)
        image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)
        image.save(root / f"{number}.{suffix}")
        entries.append((f"{number}.{suffix}", number % 2))
    return Index(("owl", "elk"), root, {"train": entries[:10], "test": entries[10:]})


def paths(index):
    return [index.root / file for entries in index.splits.values() for file, _ in entries]


def plain_loop(backbone, index):
    """The obvious way: one image at a time, as open_clip's documentation shows it."""
    with torch.inference_mode():
        return np.concatenate(
            [
                backbone.model.encode_image(backbone.preprocess(Image.open(path).convert("RGB"))[None])
                for path in paths(index)
            ]
        )


# --- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("threads", [1, 3])
def test_features_are_those_of_a_plain_loop(spec, backbone, index, batch_size, threads):
    made = shards.gather(index, [extraction.extract(index, spec | {"batch_size": batch_size}, [], {}, threads, "cpu")])
    found = np.concatenate([made.splits["train"].x, made.splits["test"].x])
    np.testing.assert_allclose(found, plain_loop(backbone, index), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32
    assert list(made.splits) == ["train", "test"]
    assert made.splits["train"].y.tolist() == [0, 1] * 5
    assert made.splits["test"].y.tolist() == [0, 1, 0]


def test_decoding_ahead_of_the_forward_pass_changes_nothing(backbone, index):
    """As on a GPU, whose forward pass leaves the cores to the decoders."""
    found, expected = (extraction.embed_images(backbone, paths(index), 4, 2, ahead) for ahead in (True, False))
    np.testing.assert_array_equal(found, expected)


def test_features_are_not_normalised(backbone, index):
    lengths = np.linalg.norm(extraction.embed_images(backbone, paths(index), 4, 1), axis=1)
    assert np.ptp(lengths) > 1e-4


def test_the_number_of_threads_changes_no_bit(backbone, index):
    first, *others = [extraction.embed_images(backbone, paths(index), 3, threads) for threads in (1, 2, 4)]
    assert all(np.array_equal(first, other) for other in others)


def test_torchs_threads_are_as_before(backbone, index):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        extraction.embed_images(backbone, paths(index), 4, 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_preprocessing_in_two_halves_changes_no_bit(backbone, index):
    halves = Preprocess(backbone.preprocess)
    whole = torch.stack([backbone.preprocess(Image.open(path).convert("RGB")) for path in paths(index)])
    loaded = halves.load(paths(index))
    assert loaded.dtype == torch.uint8
    assert torch.equal(halves.finish(loaded), whole)


def test_a_transform_of_another_build_is_refused():
    from torchvision.transforms import Compose, Resize

    with pytest.raises(ValueError, match="does not end in ToTensor and Normalize"):
        Preprocess(Compose([Resize(3), Resize(4)]))


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.02), ("fp16", 0.003)])
def test_low_precision_is_close(backbone, spec, index, precision, tolerance):
    low = backbones.load(spec | {"precision": precision}, "cpu")
    found, exact = (extraction.embed_images(each, paths(index), 4, 2) for each in (low, backbone))
    error = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 0 < error.max() < tolerance


# --- texts -----------------------------------------------------------------------------------------------------------


def test_every_class_has_an_embedding_in_every_template(backbone):
    text = extraction.embed_texts(backbone, ("owl", "elk", "A{}4"), TEMPLATES, batch_size=4, threads=2)
    assert text.shape == (3, 2, 16)
    for name, embeddings in zip(("owl", "elk", "A{}4"), text, strict=True):
        for template, found in zip(TEMPLATES, embeddings, strict=True):
            with torch.inference_mode():
                expected = backbone.model.encode_text(backbone.tokenizer([template.replace("{}", name)]))[0]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --- what can go wrong -----------------------------------------------------------------------------------------------


def spoilt(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes({"cut short": content[: len(content) // 2], "text": b"<html>", "empty": b""}[how])


@pytest.fixture
def copies(index, tmp_path):
    for path in paths(index):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return replace(index, root=tmp_path)


@pytest.mark.parametrize("name", ["5.jpg", "6.png"])
@pytest.mark.parametrize("how", ["cut short", "text", "empty", "missing"])
def test_an_image_that_cannot_be_read_is_named(backbone, copies, name, how):
    spoilt(copies.root / name, how)
    with pytest.raises(UserError) as error:
        extraction.embed_images(backbone, paths(copies), batch_size=2, threads=2)
    assert str(error.value).startswith(f"{copies.root / name}: ")
    assert "\n" not in str(error.value)


def test_after_an_error_the_rest_is_not_worked_through():
    done = []

    def work(item):
        if item == 3:
            raise UserError("no")
        done.append(item)
        return item

    with pytest.raises(UserError, match="no"):
        list(pipeline.in_order(work, range(1000), threads=2))
    assert len(done) < 20


def test_work_is_given_out_in_order_and_only_a_little_ahead():
    taken = []

    def items():
        for item in range(50):
            taken.append(item)
            yield item

    given = []
    for result in pipeline.in_order(lambda item: -item, items(), threads=2):
        given.append(result)
        assert len(taken) - len(given) <= 4
    assert given == [-item for item in range(50)]


def test_values_that_are_not_finite_are_not_written(spec, index, tmp_path, monkeypatch):
    broken = backbones.load(spec, "cpu")
    broken.model.visual.proj.data[0] = float("nan")
    monkeypatch.setattr(backbones, "load", lambda *_: broken)
    part = extraction.extract(index, spec, [], {}, 1, "cpu")
    with pytest.raises(UserError, match="train_x has NaN or infinite values, first in row 0"):
        store.write(tmp_path / "x", shards.gather(index, [part]))
    with pytest.raises(UserError, match="x has NaN or infinite values, first in row 0"):
        shards.write(tmp_path / "x", part)
    assert not list(tmp_path.iterdir())


# --- memory ----------------------------------------------------------------------------------------------------------

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: 7 bytes"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 7 bytes."),
    MemoryError("Unable to allocate 7.00 TiB for an array"),
]


def fits(limit, error, sizes):
    """A forward pass that has memory for `limit` images."""

    def forward(batch):
        sizes.append(len(batch))
        if len(batch) > limit:
            raise error
        return batch * 2

    return forward


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_the_batch_size_is_halved_until_it_fits_and_stays_there(error):
    sizes = []
    encoder = Encoder(fits(3, error, sizes), batch_size=16)
    batch = torch.arange(16)[:, None]
    assert torch.equal(encoder(batch), batch * 2)
    assert sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert encoder.batch_size == 2
    sizes.clear()
    assert torch.equal(encoder(batch[:5]), batch[:5] * 2)
    assert sizes == [2, 2, 1]


def test_a_short_batch_is_halved_from_its_own_size():
    sizes = []
    Encoder(fits(3, OUT_OF_MEMORY[0], sizes), batch_size=64)(torch.zeros(6, 1))
    assert sizes == [6, 3, 3]


def test_memory_for_not_even_one_image_is_an_error():
    with pytest.raises(UserError, match="not even one image at a time fits into memory: CUDA out of memory"):
        Encoder(fits(0, OUT_OF_MEMORY[0], []), batch_size=4)(torch.zeros(4, 1))


def test_other_errors_are_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        Encoder(fits(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"), []), batch_size=4)(torch.zeros(4, 1))


def test_features_are_the_same_when_memory_runs_out_in_between(backbone, index, monkeypatch):
    expected = extraction.embed_images(backbone, paths(index), 8, 2)
    original = backbones.Backbone.encode_images
    failed = []

    def encode(self, images):
        if len(images) > 2:
            failed.append(len(images))
            raise OUT_OF_MEMORY[0]
        return original(self, images)

    monkeypatch.setattr(backbones.Backbone, "encode_images", encode)
    found = extraction.embed_images(backbone, paths(index), 8, 2)
    assert failed
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_without_memory_for_the_images_themselves_the_job_ends_in_one_line(spec, index, monkeypatch, error):
    def load(self, paths):
        raise error

    monkeypatch.setattr(Preprocess, "load", load)
    with pytest.raises(UserError, match=r"out of memory .*`batch_size` below 4") as ending:
        extraction.extract(index, spec | {"batch_size": 4}, [], {}, 2, "cpu")
    assert "\n" not in str(ending.value)


# --- the job ---------------------------------------------------------------------------------------------------------


def job(folder, spec, *arguments):
    out = folder / "features" / "tiny" / "beasts.safetensors"
    command = [sys.executable, "-m", "workflow.scripts.features", "--dataset", "beasts", "--backbone", "tiny"]
    command += ["--spec", json.dumps(spec), "--out", str(out), "--threads", "2", *arguments]
    return out, subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_job_writes_splits_texts_and_what_they_depend_on(spec, backbone, index, tmp_path):
    write_index(tmp_path / "index.json", index)
    arguments = ["--index", str(tmp_path / "index.json"), "--templates", json.dumps(TEMPLATES), "--device", "cpu"]
    out, ended = job(tmp_path, spec | {"batch_size": 4}, *arguments)
    assert ended.returncode == 0, ended.stderr
    found = store.read(out)
    np.testing.assert_allclose(found.splits["train"].x, plain_loop(backbone, index)[:10], rtol=1e-4, atol=1e-5)
    assert found.text.shape == (2, 2, 16)
    assert found.classnames == ("owl", "elk")
    assert found.logit_scale == pytest.approx(1 / 0.07)
    metadata = dict(found.metadata)
    assert found.files["test"] == [file for file, _ in index.splits["test"]]
    assert set(metadata.pop("versions")) == {"open_clip_torch", "torch", "torchvision", "pillow"}
    assert metadata == {
        "dataset": "beasts",
        "backbone": "tiny",
        "templates": TEMPLATES,
        "spec": spec | {"batch_size": 4},
        "weights_sha256": files.sha256(spec["weights"]),
        "preprocess": backbone.preprocessing,
        "activation": "GELU",
        "recipe": backbone.recipe,
        "precision": "fp32",
        "device": "cpu",
        "index": read_fingerprint(tmp_path / "index.json"),
    }
    assert "prompts: 2 classes, 2 templates, as 'a photo of a owl.', 'a drawing of the owl" in ended.stderr
    assert "images: 13/13" in ended.stderr
    assert "images/s" in ended.stderr
    assert "left" in ended.stderr


def test_the_job_takes_features_from_elsewhere_without_a_model(tmp_path):
    x, y = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 1, 0, 1])
    np.savez(tmp_path / "beasts.npz", train_x=x, train_y=y, test_x=x[:2], test_y=y[:2], classnames=["owl", "elk"])
    out, ended = job(tmp_path, {"features": f"{tmp_path}/{{dataset}}.npz"})
    assert ended.returncode == 0, ended.stderr
    found = store.read(out)
    np.testing.assert_allclose(found.splits["train"].x, x, rtol=1e-6)
    assert (found.text, found.logit_scale) == (None, 100.0)
    assert found.metadata["weights_sha256"] == files.sha256(tmp_path / "beasts.npz")
    assert found.metadata["dataset"] == "beasts"


def test_the_job_lets_in_what_the_study_says(tmp_path, monkeypatch, caplog):
    x, y = np.eye(4, 3), np.array([0, 1, 0, 1])
    vectors = {"train_x": x, "train_y": y, "classnames": ["owl", "elk"], "logit_scale": np.array(0.07)}
    np.savez(tmp_path / "beasts.npz", **vectors)
    spec = {"features": f"{tmp_path}/{{dataset}}.npz"}

    def run(**more):
        arguments = ["--dataset", "beasts", "--backbone", "tiny", "--spec", json.dumps(spec | more)]
        monkeypatch.setattr(sys, "argv", ["features", *arguments, "--out", str(tmp_path / "out")])
        job_script.main()

    with pytest.raises(UserError, match=r"beasts\.npz: logit_scale is 0.07, .*a temperature, save one over it, 14.29"):
        run()
    with pytest.raises(UserError, match=r"beasts\.npz: train_x has only zeros in row 3: .*`allow_zeros: true`"):
        run(logit_scale=4.6)
    run(logit_scale=4.6, allow_zeros=True)
    found = store.read(tmp_path / "out")
    assert found.logit_scale == pytest.approx(4.6)
    assert found.metadata["zeros"] == {"train_x": [3]}
    assert "train_x: 1 rows of zeros, the first in [3]" in caplog.text


def test_the_job_ends_in_one_line_where_an_image_is_damaged(spec, copies, tmp_path, monkeypatch, capsys):
    write_index(tmp_path / "index.json", copies)
    spoilt(copies.root / "5.jpg", "cut short")
    arguments = ["--dataset", "beasts", "--index", str(tmp_path / "index.json"), "--backbone", "tiny"]
    arguments += ["--spec", json.dumps(spec), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["features", *arguments])
    with pytest.raises(SystemExit) as ending:
        entry.run(job_script.main)
    assert ending.value.code == 1
    assert f"error: {copies.root / '5.jpg'}: not a readable image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
