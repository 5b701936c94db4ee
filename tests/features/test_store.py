"""The features file: what is written is read back, and nothing wrong is ever read."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from methods import unit
from workflow.lib.errors import UserError
from workflow.lib.features import store
from workflow.lib.features.store import Features, Split

CLASSNAMES = ("heron", "swift", "crane")


def split(size, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.standard_normal((size, 4), dtype=np.float32), np.arange(size) % len(CLASSNAMES))


@pytest.fixture
def made():
    text = np.random.default_rng(9).standard_normal((3, 2, 4), dtype=np.float32)
    splits = {"train": split(6), "val": split(3, 1), "test": split(5, 2)}
    metadata = {"dataset": "birds", "spec": {"model": "ViT-B-32"}}
    return Features(splits, CLASSNAMES, text, 87.5, metadata, files={"val": ["a.png", "b/ö.png", "c.png"]})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nano" / "birds.safetensors"


def test_what_is_written_is_read_back(made, path):
    store.write(path, made)
    found = store.read(path)
    assert list(found.splits) == ["train", "val", "test"]
    for name, expected in made.splits.items():
        assert found.splits[name].x.dtype == np.float32
        assert found.splits[name].y.dtype == np.int64
        np.testing.assert_array_equal(found.splits[name].x, expected.x)
        np.testing.assert_array_equal(found.splits[name].y, expected.y)
    np.testing.assert_array_equal(found.text, made.text)
    assert (found.classnames, found.logit_scale, found.metadata) == (CLASSNAMES, 87.5, made.metadata)
    assert dict(found.files) == made.files


def test_text_is_optional(made, path):
    store.write(path, replace(made, text=None))
    assert store.read(path).text is None
    assert store.read(path).class_text() is None


def test_only_the_splits_asked_for_are_read(made, path):
    store.write(path, made)
    assert list(store.read(path, splits=["test", "train"]).splits) == ["train", "test"]
    assert list(store.read(path, splits=["test"]).splits) == ["test"]


def test_views_come_with_train(made, path):
    views = np.random.default_rng(4).standard_normal((6, 3, 4), dtype=np.float32)
    store.write(path, replace(made, train_views=views))
    assert store.read(path, ["val"]).train_views is None
    for splits in (None, ["train", "test"]):
        found = store.read(path, splits).train_views
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, views)


def test_any_reader_of_safetensors_reads_it(made, path):
    store.write(path, made)
    found = load_file(path)
    np.testing.assert_array_equal(found["train_x"], made.splits["train"].x)
    assert found["logit_scale"] == np.float32(87.5)
    assert found["val_files"].tobytes().decode() == "a.png\0b/ö.png\0c.png\0"


def test_equal_features_are_equal_bytes(made, tmp_path):
    contents, sums = set(), set()
    for number in range(8):
        store.write(tmp_path / str(number), made)
        contents.add((tmp_path / str(number)).read_bytes())
        sums.add(store.read(tmp_path / str(number)).sha256)
    assert (len(contents), len(sums)) == (1, 1)


def test_other_features_have_another_checksum(made, tmp_path):
    other = made.splits["test"].x.copy()
    other[4, 3] = np.nextafter(other[4, 3], np.float32(9))
    changes = [{}, {"metadata": {}}, {"splits": made.splits | {"test": Split(other, made.splits["test"].y)}}]
    for number, change in enumerate(changes):
        store.write(tmp_path / str(number), replace(made, **change))
    assert len({store.read(tmp_path / str(number)).sha256 for number in range(3)}) == 3


def test_a_view_with_strides_is_stored_as_it_reads(made, path):
    wide = np.random.default_rng(0).standard_normal((4, 6), dtype=np.float32)
    store.write(path, replace(made, splits={"train": Split(wide.T, made.splits["train"].y)}))
    np.testing.assert_array_equal(store.read(path).splits["train"].x, wide.T)


def test_class_text_normalises_averages_and_normalises_again(made):
    for found, templates in zip(made.class_text(), made.text, strict=True):
        mean = sum(template / np.linalg.norm(template) for template in templates) / len(templates)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-5)


def test_unit_leaves_zero_alone():
    found = unit(np.array([[0, 0], [3, 4]], dtype=np.float32))
    np.testing.assert_array_equal(found, np.array([[0, 0], [0.6, 0.8]], dtype=np.float32))
    assert found.dtype == np.float32


def test_features_and_specs_are_read_without_torch():
    names = ("features.store", "features.npz", "data.datasets", "encoding.backbones")
    modules = ", ".join(f"workflow.lib.{name}" for name in names)
    code = f"import sys, {modules}; print('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


NAN = np.full((6, 4), np.nan, dtype=np.float32)
VIEWS = np.ones((6, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": {}}, "no images: train_x and train_y are wanted"),
        ({"classnames": ("a", "b", "a")}, "classnames: 'a' stands there twice"),
        ({"classnames": ("a", "", "b")}, "none empty"),
        ({"classnames": (*CLASSNAMES, "owl"), "text": None}, r"train has no image of class 3 \('owl'\)"),
        ({"splits": {"train": Split(NAN, np.arange(6) % 3)}}, "train_x has NaN or infinite values, first in row 0"),
        ({"splits": {"train": Split(NAN[:5], np.arange(6) % 3)}}, r"train_y has shape \(6,\); \(5,\) is wanted"),
        ({"splits": {"train": Split(NAN[0], np.arange(6) % 3)}}, r"train_x has shape \(4,\); \(N, D\) is wanted"),
        ({"splits": {"test": Split(NAN[:0], np.arange(0))}}, r"test_x has shape \(0, 4\)"),
        ({"splits": {"test": replace(split(6), y=np.arange(6))}}, "test_y has label 3 in row 3; labels go from 0 to 2"),
        ({"splits": {"test": replace(split(6), y=-np.arange(6))}}, "test_y has label -1 in row 1"),
        ({"splits": {"val": split(6)}}, "val_x has 6 rows, but 3 files are listed"),
        ({"text": np.ones((2, 2, 4), np.float32)}, r"text has shape \(2, 2, 4\); \(K, T, D\) with K = 3 is wanted"),
        ({"text": np.ones((4, 2, 4), np.float32)}, r"text has shape \(4, 2, 4\); \(K, T, D\) with K = 3 is wanted"),
        ({"text": np.ones((3, 2, 5), np.float32)}, "D differs: train_x has 4, val_x has 4, test_x has 4, text has 5"),
        ({"text": np.full((3, 2, 4), np.inf, np.float32)}, "text has NaN or infinite values"),
        ({"train_views": VIEWS[0]}, r"train_views has shape \(2, 4\); \(N, V, D\) with N = 6, the rows of train_x"),
        ({"train_views": VIEWS[:5]}, r"train_views has shape \(5, 2, 4\)"),
        ({"train_views": VIEWS[:, :0]}, r"train_views has shape \(6, 0, 4\)"),
        ({"train_views": VIEWS, "splits": {"test": split(6)}}, "with N = 0"),
        ({"train_views": VIEWS[..., :3]}, "D differs: train_x has 4, .* train_views has 3"),
        ({"train_views": np.where(np.arange(6)[:, None, None] == 4, np.nan, VIEWS)}, "infinite values, first in row 4"),
        (
            {"train_views": VIEWS, "metadata": {"views": {"count": 3}}},
            "train_views has 2 views of each image, but the metadata says 3",
        ),
        ({"logit_scale": float("nan")}, "logit_scale is nan; a positive number is wanted"),
        ({"logit_scale": 0.0}, "logit_scale is 0.0; a positive number is wanted"),
    ],
)
def test_wrong_features_are_not_written(made, path, change, message):
    with pytest.raises(UserError, match=message) as error:
        store.write(path, replace(made, **change))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_a_missing_split_is_named_with_those_there_are(made, path):
    store.write(path, replace(made, splits={"train": split(6)}))
    with pytest.raises(UserError, match="no split test; it has train"):
        store.read(path, splits=["train", "test"])


def test_a_missing_file_is_named(path):
    with pytest.raises(UserError, match=r"birds.safetensors: no such features file"):
        store.read(path)


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_a_file_cut_short_is_not_read(made, path, size):
    store.write(path, made)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="not a safetensors file, or cut short"):
        store.read(path)


@pytest.mark.parametrize(
    "header", [None, {"format": "pt"}, {"features": json.dumps({"format": 1})}, {"features": "[]"}]
)
def test_a_safetensors_file_of_another_kind_is_not_read(tmp_path, header):
    save_file({"train_x": split(6).x, "train_y": split(6).y}, tmp_path / "x.safetensors", header)
    with pytest.raises(UserError, match="not a features file of format 2; delete it, and the next run makes it anew"):
        store.read(tmp_path / "x.safetensors")
