"""The embedded backbone: what its files hold, how good it is, and that its training is what the card says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from workflow.lib.drawn import numerals, planes
from workflow.lib.nano import captions, quality, training
from workflow.scripts import train_nano

ASSETS = Path(__file__).parents[2] / "workflow" / "assets" / "nano"
TINY = training.Recipe(steps=3, planes=1, digits=2, batch=16, warmup=2)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: sums come in one order, and matrices this small gain nothing from more, least on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def loaded() -> quality.Loaded:
    """The model as open_clip loads it."""
    return quality.load(ASSETS)


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    """What the training script prints at its end, measured again."""
    return quality.report(ASSETS)


@pytest.fixture(scope="module")
def pool() -> training.Pool:
    """A pool of 120 drawings."""
    return training.render_pool(TINY, workers=1)


def trainer(pool: training.Pool, seed: int = 0) -> training.Trainer:
    """A fresh trainer on the tiny pool."""
    return training.Trainer(training.new_model(ASSETS / "model.json", seed), pool, TINY)


# --- the files ---------------------------------------------------------------------------------------------------


def test_all_files_together_are_under_12_mb() -> None:
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 12_000_000


def test_weights_are_finite_and_half_precision() -> None:
    with safe_open(ASSETS / "model.safetensors", framework="pt") as weights:
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  # not a dict
    floats = [tensor for tensor in tensors.values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in floats)


def test_only_tokens_of_captions_have_an_embedding(loaded: quality.Loaded) -> None:
    seen = torch.unique(loaded.tokenizer(list(captions.Captions.build().texts)))
    table = loaded.model.token_embedding.weight
    assert set(torch.nonzero(table.abs().sum(dim=1)).flatten().tolist()) == set(seen.tolist())


def test_open_clip_loads_it_as_any_downloaded_model() -> None:
    open_clip.add_model_config(str(ASSETS / "model.json"))
    weights = str(ASSETS / "model.safetensors")
    model, _, preprocess = open_clip.create_model_and_transforms("model", pretrained=weights)
    tokens = open_clip.get_tokenizer("model")(["a photo of a Brenk Merlin II, a type of aircraft."])
    pixels = preprocess(planes.image(0, "train", 0))
    assert (tuple(tokens.shape), tuple(pixels.shape)) == ((1, 32), (3, 64, 64))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert tuple(model.eval().encode_image(pixels[None]).shape) == tuple(model.encode_text(tokens).shape) == (1, 128)


def test_no_prompt_of_a_study_is_longer_than_the_context(loaded: quality.Loaded) -> None:
    texts = [template.format(name) for name in quality.PLANE_NAMES for template in captions.PLANE_TEMPLATES]
    last = loaded.tokenizer(texts)[:, -1]
    assert (last == 0).all()


def test_embeddings_are_finite_and_can_be_normalised(loaded: quality.Loaded) -> None:
    black = Image.new("RGB", (300, 200))
    pictures = [planes.image(0, "val", 0), black, numerals.draw(3, np.random.default_rng(0))]
    images = torch.stack([loaded.preprocess(picture) for picture in pictures])
    unknown = loaded.tokenizer(["a photo of a cat", ""])
    for features in (loaded.model.encode_image(images), loaded.model.encode_text(unknown)):
        assert features.isfinite().all()
        assert (features.norm(dim=-1) > 1e-3).all()


# --- how good it is ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planes_are_hard_but_not_hopeless_without_training(measured: dict[str, float]) -> None:
    assert 0.15 <= measured["planes, zero-shot"] <= 0.45


@pytest.mark.slow
def test_digits_are_known_without_training(measured: dict[str, float]) -> None:
    assert measured["digits, zero-shot"] >= 0.40


@pytest.mark.slow
def test_image_features_hold_more_than_the_text_knows(measured: dict[str, float]) -> None:
    gain = measured["planes, logistic regression on all of train"] - measured["planes, zero-shot"]
    assert gain >= 0.10


@pytest.mark.slow
def test_the_card_tells_what_is_measured(measured: dict[str, float]) -> None:
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) % \|$", (ASSETS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    told = {what: float(percent) for what, percent in rows}
    assert told.keys() == measured.keys()
    for what, accuracy in measured.items():
        assert told[what] == pytest.approx(100 * accuracy, abs=1), what


# --- its captions ------------------------------------------------------------------------------------------------


def test_a_drawing_gets_names_of_its_own_or_at_times_a_wrong_one() -> None:
    table, variant = captions.Captions.build(), planes.VARIANTS[40]
    _, names = table.draw(np.full(4000, 40), np.random.default_rng(0))
    said = [captions.NAMES[name] for name in names]
    first = next(v.name for v in planes.VARIANTS if v.family == variant.family)
    shares = captions.LEVELS | {"first": captions.LEVELS["variant"] * captions.TAKEN_FOR_FIRST}
    shares["variant"] -= shares["first"]
    names_at = {"variant": variant.name, "first": first, "family": variant.family, "maker": variant.maker}
    for level, name in names_at.items():
        assert said.count(name) / 4000 == pytest.approx(shares[level], abs=0.02), level
    wrong = [name for name in said if name not in (*names_at.values(), "aircraft")]
    assert len(wrong) / 4000 == pytest.approx(shares["wrong"], abs=0.02)


def test_digits_are_always_named_rightly() -> None:
    table = captions.Captions.build()
    numbers, names = table.draw(np.repeat(np.arange(10), 50) + captions.PLANES, np.random.default_rng(0))
    assert [captions.NAMES[name] for name in names] == [name for name in numerals.NAMES for _ in range(50)]
    assert all(captions.NAMES[name] in table.texts[number] for number, name in zip(numbers, names, strict=True))


def test_a_caption_is_a_template_with_a_name() -> None:
    table = captions.Captions.build()
    assert len(table.texts) == len(captions.NAMES) * 6
    assert "a photo of the Gallant Titan, a type of aircraft." in table.texts
    assert "a handwritten digit seven." in table.texts


# --- its drawings of digits ---------------------------------------------------------------------------------------


def test_cells_become_what_the_study_shows_of_a_digit(loaded: quality.Loaded) -> None:
    """The drawing of a training digit ends with the steps that a study's digit goes through."""
    digits = quality.digits_split("val", loaded.preprocess)
    grey = (digits.images[0] * torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
            + torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1))  # fmt: skip
    cells = np.rint(np.asarray(Image.fromarray((grey[0].numpy() * 255).round().astype(np.uint8)).reduce(8)) / 255 * 16)
    again = np.asarray(numerals.from_cells(cells.astype(np.int64)), dtype=float)[..., 0] / 255
    assert np.abs(again - grey[0].numpy()).mean() < 0.06


def test_every_digit_can_be_drawn_and_holds_ink() -> None:
    for digit in range(10):
        for seed in range(20):
            picture = numerals.draw(digit, np.random.default_rng(seed))
            assert (picture.size, picture.mode) == ((64, 64), "RGB")
            assert np.ptp(np.asarray(picture)) > 60


# --- its training --------------------------------------------------------------------------------------------------


def test_a_pool_does_not_depend_on_the_number_of_processes(pool: training.Pool) -> None:
    assert torch.equal(training.render_pool(TINY, workers=2).images, pool.images)


def test_a_pool_has_planes_first(pool: training.Pool) -> None:
    assert pool.images.shape == (120, 3, 64, 64)
    assert pool.planes == 100
    assert pool.subjects.tolist()[-4:] == [108, 108, 109, 109]


def test_the_same_seed_has_the_same_losses(pool: training.Pool) -> None:
    first = list(trainer(pool).run())
    assert len(first) == 3
    assert list(trainer(pool).run()) == first
    assert list(trainer(pool, seed=1).run()) != first


def test_a_resumed_training_goes_on_as_if_never_stopped(pool: training.Pool, tmp_path: Path) -> None:
    whole = trainer(pool)
    losses = list(whole.run())
    stopped, resumed = trainer(pool), trainer(pool, seed=9)
    begun = list(islice(stopped.run(), 1))
    torch.save(stopped.state_dict(), tmp_path / "checkpoint.pt")
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert begun + list(resumed.run()) == losses
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_equal_names_are_equally_right() -> None:
    logits = torch.eye(3) * 20
    apart = training.contrastive_loss(logits, torch.tensor([0, 1, 2]))
    pooled = training.contrastive_loss(torch.tensor([[20.0, 20, 0], [20, 20, 0], [0, 0, 20]]), torch.tensor([4, 4, 2]))
    assert apart.item() == pytest.approx(0, abs=1e-6)
    assert pooled.item() == pytest.approx(2 / 3 * np.log(2), abs=1e-6)


def test_only_planes_are_mirrored() -> None:
    half = torch.zeros(64, 3, 64, 64, dtype=torch.uint8)
    half[..., :32] = 255
    out = training.augment(half, torch.arange(64) < 32, torch.Generator().manual_seed(0))
    left_is_light = out[:, 0, :, :20].mean(dim=(1, 2)) > out[:, 0, :, 44:].mean(dim=(1, 2))
    assert left_is_light[32:].all()
    assert 5 < int(left_is_light[:32].sum()) < 27


def test_the_script_trains_saves_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(json.loads((ASSETS / "model.json").read_text())), encoding="utf-8")
    monkeypatch.setattr(quality, "report", lambda folder: {"planes, zero-shot": 0.0123})
    split = quality.planes_split
    monkeypatch.setattr(quality, "planes_split", lambda name, preprocess, _: split(name, preprocess, 1))
    size = ["--steps", "2", "--batch", "8", "--planes", "1", "--digits", "1", "--every", "1", "--threads", "1"]
    assert train_nano.main(["--out", str(tmp_path), *size, "--resume"]) == 0
    said = capsys.readouterr().out
    assert "step 2: loss" in said
    assert said.endswith("planes, zero-shot: 1.23 %\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
