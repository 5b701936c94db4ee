"""Images that can't be read: named all at once, or left out so that rows, labels and names stay in step."""

import errno
import json
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from workflow.lib.data.index import Index, write_index
from workflow.lib.encoding import bad_images, extraction, images, shards
from workflow.lib.encoding.images import BadImageError, Limits, Reader
from workflow.lib.encoding.shards import Shard
from workflow.lib.errors import UserError, describe
from workflow.lib.features import store
from workflow.lib.jobs import entry
from workflow.scripts import features as job_script
from workflow.scripts import gather as gather_script

TEMPLATES = ["a photo of a {}."]
BAD = {"1.png": b"<html>", "4.png": b"", "13.png": None}  # of train twice, of test once; None: too long
GOOD = [number for number in range(17) if f"{number}.png" not in BAD]


@pytest.fixture(scope="module")
def spec(spec):
    return spec | {"batch_size": 4}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """12 train and 5 test images of which three can't be read."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(17):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    for name, content in BAD.items():
        if content is None:
            Image.new("RGB", (3000, 10)).save(root / name)
        else:
            (root / name).write_bytes(content)
    entries = [(f"{number}.png", number % 2) for number in range(17)]
    return Index(("owl", "elk"), root, {"train": entries[:12], "test": entries[12:]})


def without_bad(index):
    """The same index as if the bad images had never been in it."""
    splits = {name: [each for each in entries if each[0] not in BAD] for name, entries in index.splits.items()}
    return Index(index.classnames, index.root, splits)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_of_them_are_named_in_one_run(spec, index, threads, caplog):
    with pytest.raises(UserError) as error, caplog.at_level(logging.INFO, logger="workflow"):
        extraction.extract(index, spec, [], {}, threads, "cpu")
    text = str(error.value)
    assert text.startswith(f"{index.root}/1.png: not a readable image")
    assert text.endswith(
        "; 3 images are like this, each named in the log; mend or remove them, or add `skip_bad_images: true` to the "
        "dataset's entry"
    )
    assert len(text) == len(describe(error.value))
    named = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.split(": ")[1] for line in named] == [f"{index.root}/{name}" for name in BAD]


def test_no_more_are_looked_for_than_a_limit(spec, index, monkeypatch):
    monkeypatch.setattr(bad_images, "MOST", 2)
    with pytest.raises(UserError, match="; 2 or more images are like this"):
        extraction.extract(index, spec, [], {}, 1, "cpu")


def test_one_alone_is_named_alone(spec, index):
    one = Index(index.classnames, index.root, {"train": index.splits["train"][:4]})
    with pytest.raises(UserError, match=r"1\.png: not a readable image \([^;]*\); mend or remove"):
        extraction.extract(one, spec, [], {}, 1, "cpu")


def gathered(index, spec, count=1, views=0, **reading):
    parts = [
        extraction.extract(
            index, spec, TEMPLATES, {}, 2, "cpu", views, True, Shard(1 + i, count), Reader(skip=True, **reading)
        )
        for i in range(count)
    ]
    return shards.gather(index, parts)


@pytest.mark.parametrize("count", [1, 3])
def test_rows_labels_names_and_views_stay_in_step_without_them(spec, index, tmp_path, count):
    made = gathered(index, spec, count, views=2)
    store.write(tmp_path / "made", made)
    found = store.read(tmp_path / "made")
    assert found.metadata["left_out"].keys() == BAD.keys()
    expected = shards.gather(
        without_bad(index), [extraction.extract(without_bad(index), spec, TEMPLATES, {}, 1, "cpu")]
    )
    for name, split in expected.splits.items():
        assert found.files[name] == expected.files[name] == [file for file, _ in without_bad(index).splits[name]]
        np.testing.assert_array_equal(found.splits[name].y, split.y)
        np.testing.assert_allclose(found.splits[name].x[:], split.x[:], rtol=1e-4, atol=1e-5)
    assert found.train_views.shape == (10, 2, 16)
    # A view hangs on its image's place in the whole list, so the views are those of a list without bad images in it.
    alone = gathered(Index(index.classnames, index.root, {"train": index.splits["train"][:1]}), spec, views=2)
    np.testing.assert_allclose(found.train_views[:1], alone.train_views[:], rtol=1e-4, atol=1e-5)


def test_folds_stay_in_step_too(spec, index, tmp_path):
    entries = index.splits["train"]
    folded = replace(index, folds=tuple(range(len(entries))))
    store.write(tmp_path / "made", gathered(folded, spec, 3))
    found = store.read(tmp_path / "made", ["train"])
    assert len(found.files["train"]) < len(entries)
    assert [entries[fold][0] for fold in found.folds] == found.files["train"]


def test_rows_are_the_same_to_the_last_bit_whatever_the_number_of_shards(spec, index):
    whole, parts = gathered(index, spec, views=2), gathered(index, spec, 4, views=2)
    for name, split in whole.splits.items():
        np.testing.assert_array_equal(split.x[:], parts.splits[name].x[:])
    np.testing.assert_array_equal(whole.train_views[:], parts.train_views[:])
    assert whole.metadata["left_out"] == parts.metadata["left_out"]


def test_what_a_limit_lets_in_is_not_left_out(spec, index):
    made = gathered(index, spec, limits=Limits(aspect=300))
    assert made.metadata["left_out"].keys() == {"1.png", "4.png"}
    assert made.files["test"] == [file for file, _ in index.splits["test"]]


def test_without_bad_images_the_metadata_say_nothing(spec, index):
    assert "left_out" not in gathered(without_bad(index), spec).metadata


def test_a_class_that_has_none_left_is_named(spec, index, tmp_path):
    entries = [("0.png", 0), ("1.png", 1), ("2.png", 0)]
    made = gathered(Index(index.classnames, index.root, {"train": entries}), spec)
    with pytest.raises(UserError, match=r"train has no image of class 1 \('elk'\)"):
        store.write(tmp_path / "x", made)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), OSError(errno.EMFILE, "x"), MemoryError()])
def test_a_machine_that_fails_leaves_no_image_out(monkeypatch, tmp_path, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(images.Image, "open", fail)
    reader = Reader(skip=True)
    with pytest.raises(BadImageError):
        reader(tmp_path / "a.png")
    assert not reader.left_out


def test_a_machine_that_fails_is_not_taken_for_bad_images(spec, index, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(images.Image, "open", fail)
    with pytest.raises(UserError, match=r"0\.png: not a readable image \(\[Errno 24\] Too many open files\)$"):
        extraction.extract(index, spec, [], {}, 2, "cpu", reader=Reader(skip=True))
    assert "looking through" not in caplog.text


# --- the jobs --------------------------------------------------------------------------------------------------------


def run(monkeypatch, script, *arguments):
    monkeypatch.setattr(sys, "argv", ["job", *map(str, arguments)])
    entry.run(script.main)


def extract_job(monkeypatch, spec, folder, *more):
    arguments = ["--dataset", "beasts", "--index", folder / "index.json", "--backbone", "tiny", "--device", "cpu"]
    run(monkeypatch, job_script, *arguments, "--spec", json.dumps(spec), *more)


def test_the_jobs_leave_out_list_and_gather(spec, index, tmp_path, monkeypatch, caplog):
    write_index(tmp_path / "index.json", index)
    with caplog.at_level(logging.INFO, logger="workflow"):
        for i in (1, 2):
            extract_job(
                monkeypatch,
                spec,
                tmp_path,
                "--skip-bad-images",
                "--shard",
                i,
                "--shards",
                2,
                "--out",
                tmp_path / f"{i}",
            )
        run(
            monkeypatch,
            gather_script,
            "--index",
            tmp_path / "index.json",
            "--out",
            tmp_path / "all",
            *(tmp_path / n for n in "12"),
        )
        extract_job(monkeypatch, spec, tmp_path, "--skip-bad-images", "--max-aspect", 300, "--out", tmp_path / "one")
    for name in BAD:
        assert f"left out: {index.root}/{name}: not a readable image" in caplog.text
    assert "left out: 2" in caplog.text
    assert len(store.read(tmp_path / "all").splits["train"].y) == 10
    assert len(store.read(tmp_path / "one").splits["test"].y) == 5


def test_the_job_says_what_images_go_through(spec, index, tmp_path, monkeypatch, caplog):
    write_index(tmp_path / "index.json", without_bad(index))
    by_hand = {"preprocess": {"mean": [0.5, 0.5, 0.5], "resize_mode": "squash"}, "quick_gelu": True}
    with caplog.at_level(logging.INFO, logger="workflow"):
        extract_job(monkeypatch, spec | by_hand, tmp_path, "--out", tmp_path / "out")
    said = "images: 32 x 32, bicubic, squash (both sides to size), mean 0.5 0.5 0.5, std 0.2686 0.2613 0.2758; "
    assert f"{said}activation QuickGELU; from the model's config" in caplog.text
    metadata = store.read(tmp_path / "out").metadata
    assert json.loads(metadata["preprocess"])["resize_mode"] == "squash"
    assert metadata["activation"] == "QuickGELU"
    assert metadata["recipe"].endswith("preprocess and quick_gelu by hand")
