"""The features file: what is written is read back, and nothing wrong is ever read."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from workflow.lib import features
from workflow.lib.errors import UserError
from workflow.lib.features import Features, Split
from workflow.lib.features_npz import read_npz

CLASSNAMES = ("heron", "swift", "crane")


def split(size, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.standard_normal((size, 4), dtype=np.float32), np.arange(size) % len(CLASSNAMES))


@pytest.fixture
def made():
    text = np.random.default_rng(9).standard_normal((3, 2, 4), dtype=np.float32)
    splits = {"train": split(6), "val": split(3, 1), "test": split(5, 2)}
    metadata = {"dataset": "birds", "files": {"val": ["a.png", "b.png", "c.png"]}, "spec": {"model": "ViT-B-32"}}
    return Features(splits, CLASSNAMES, text, 87.5, metadata)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nano" / "birds.safetensors"


def test_what_is_written_is_read_back(made, path):
    features.write(path, made)
    found = features.read(path)
    assert list(found.splits) == ["train", "val", "test"]
    for name, expected in made.splits.items():
        assert found.splits[name].x.dtype == np.float32
        assert found.splits[name].y.dtype == np.int64
        np.testing.assert_array_equal(found.splits[name].x, expected.x)
        np.testing.assert_array_equal(found.splits[name].y, expected.y)
    np.testing.assert_array_equal(found.text, made.text)
    assert (found.classnames, found.logit_scale, found.metadata) == (CLASSNAMES, 87.5, made.metadata)


def test_text_is_optional(made, path):
    features.write(path, replace(made, text=None))
    assert features.read(path).text is None
    assert features.read(path).class_text() is None


def test_only_the_splits_asked_for_are_read(made, path):
    features.write(path, made)
    assert list(features.read(path, splits=["test", "train"]).splits) == ["train", "test"]
    assert list(features.read(path, splits=["test"]).splits) == ["test"]


def test_equal_features_are_equal_bytes(made, tmp_path):
    contents = set()
    for number in range(8):
        features.write(tmp_path / str(number), made)
        contents.add((tmp_path / str(number)).read_bytes())
    assert len(contents) == 1


def test_a_view_with_strides_is_stored_as_it_reads(made, path):
    wide = np.random.default_rng(0).standard_normal((4, 6), dtype=np.float32)
    features.write(path, replace(made, splits={"train": Split(wide.T, made.splits["train"].y)}))
    np.testing.assert_array_equal(features.read(path).splits["train"].x, wide.T)


def test_class_text_normalises_averages_and_normalises_again(made):
    for found, templates in zip(made.class_text(), made.text, strict=True):
        mean = sum(template / np.linalg.norm(template) for template in templates) / len(templates)
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-5)


def test_unit_leaves_zero_alone():
    found = features.unit(np.array([[0, 0], [3, 4]], dtype=np.float32))
    np.testing.assert_array_equal(found, np.array([[0, 0], [0.6, 0.8]], dtype=np.float32))
    assert found.dtype == np.float32


def test_features_are_read_without_torch():
    code = "import sys, workflow.lib.features, workflow.lib.features_npz, workflow.lib.datasets; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


NAN = np.full((6, 4), np.nan, dtype=np.float32)


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
        ({"splits": {"val": split(6)}}, "val_x has 6 rows, but the metadata lists 3 files"),
        ({"text": np.ones((2, 2, 4), np.float32)}, r"text has shape \(2, 2, 4\); \(K, T, D\) with K = 3 is wanted"),
        ({"text": np.ones((3, 2, 5), np.float32)}, "D differs: train_x has 4, val_x has 4, test_x has 4, text has 5"),
        ({"text": np.full((3, 2, 4), np.inf, np.float32)}, "text has NaN or infinite values"),
        ({"logit_scale": float("nan")}, "logit_scale is nan; a positive number is wanted"),
        ({"logit_scale": 0.0}, "logit_scale is 0.0; a positive number is wanted"),
    ],
)
def test_wrong_features_are_not_written(made, path, change, message):
    with pytest.raises(UserError, match=message) as error:
        features.write(path, replace(made, **change))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_a_missing_split_is_named_with_those_there_are(made, path):
    features.write(path, replace(made, splits={"train": split(6)}, metadata={}))
    with pytest.raises(UserError, match="no split test; it has train"):
        features.read(path, splits=["train", "test"])


def test_a_missing_file_is_named(path):
    with pytest.raises(UserError, match=r"birds.safetensors: no such features file"):
        features.read(path)


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_a_file_cut_short_is_not_read(made, path, size):
    features.write(path, made)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="not a safetensors file, or cut short"):
        features.read(path)


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"features": json.dumps({"format": 0})}])
def test_a_safetensors_file_of_another_kind_is_not_read(tmp_path, header):
    save_file({"train_x": split(6).x, "train_y": split(6).y}, tmp_path / "x.safetensors", header)
    with pytest.raises(UserError, match="not a features file of format 1"):
        features.read(tmp_path / "x.safetensors")


def test_wrong_values_in_a_file_are_not_read(tmp_path):
    header = {"features": json.dumps({"format": 1, "classnames": ["a", "b"]})}
    tensors = {"train_x": split(6).x, "train_y": split(6).y, "logit_scale": np.array(100, np.float32)}
    save_file(tensors, tmp_path / "x.safetensors", header)
    with pytest.raises(UserError, match="train_y has label 2 in row 2; labels go from 0 to 1"):
        features.read(tmp_path / "x.safetensors")


def elsewhere(**changes):
    """The arrays of a sound npz file, with changes; `None` takes one away."""
    train, test = split(6), split(5, 2)
    arrays = {"train_x": train.x, "train_y": train.y, "test_x": test.x, "test_y": test.y, "classnames": CLASSNAMES}
    return {key: array for key, array in (arrays | changes).items() if array is not None}


def npz(folder, **changes):
    np.savez(folder / "birds.npz", **elsewhere(**changes))
    return folder / "birds.npz"


def test_features_from_elsewhere_need_train_and_names_alone(tmp_path):
    found = read_npz(npz(tmp_path, test_x=None, test_y=None))
    assert list(found.splits) == ["train"]
    assert (found.classnames, found.text, found.logit_scale) == (CLASSNAMES, None, 100.0)


def test_features_from_elsewhere_may_have_text_and_scale(tmp_path):
    text = np.random.default_rng(1).standard_normal((3, 4))
    found = read_npz(npz(tmp_path, text_x=text, logit_scale=np.array(14)))
    np.testing.assert_allclose(found.text, text[:, None, :], rtol=1e-6)
    assert found.logit_scale == 14.0


@pytest.mark.parametrize("floats", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("integers", [np.uint8, np.int32, np.int64])
def test_any_floats_and_integers_are_converted(tmp_path, floats, integers):
    train = split(6)
    found = read_npz(npz(tmp_path, train_x=train.x.astype(floats), train_y=train.y.astype(integers))).splits["train"]
    assert (found.x.dtype, found.y.dtype) == (np.float32, np.int64)
    np.testing.assert_allclose(found.x, train.x, rtol=1e-3)
    np.testing.assert_array_equal(found.y, train.y)


def test_lengths_are_kept_and_other_arrays_ignored(tmp_path):
    long = split(6).x * 1000
    found = read_npz(npz(tmp_path, train_x=long, text=np.ones(3), note=np.array("made in May")))
    np.testing.assert_array_equal(found.splits["train"].x, long)
    assert found.text is None


def test_a_class_without_test_images_is_fine(tmp_path):
    found = read_npz(npz(tmp_path, test_y=np.zeros(5, int)))
    assert set(found.splits["test"].y) == {0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_x": None}, "no array train_x; of the names known here it has classnames, test_x, test_y, train_y"),
        ({"train_y": None}, "no array train_y"),
        ({"test_y": None}, "no array test_y"),
        ({"classnames": None}, "no array classnames"),
        ({"classnames": np.array([0, 1, 2])}, r"classnames is int64 of shape \(3,\); strings of shape \(K,\) are wanted"),
        ({"classnames": np.array(CLASSNAMES, object)}, "classnames is an array of Python objects"),
        ({"classnames": np.array(["heron"])}, "train_y has label 1 in row 1; labels go from 0 to 0"),
        ({"train_x": np.array([[None]])}, "train_x is an array of Python objects, which is never unpickled"),
        ({"train_x": np.ones((6, 4), int)}, "train_x is int64 .* floating-point numbers are wanted"),
        ({"train_x": np.ones((6, 4, 1))}, r"train_x has shape \(6, 4, 1\); \(N, D\) is wanted"),
        ({"train_x": np.ones((5, 4))}, r"train_y has shape \(6,\); \(5,\) is wanted"),
        ({"train_x": np.full((6, 4), 1e300)}, "train_x has NaN or infinite values, first in row 0"),
        ({"train_x": NAN}, "train_x has NaN or infinite values, first in row 0"),
        ({"train_y": np.arange(6.0)}, "train_y is float64 .* integers from 0 to K - 1 are wanted"),
        ({"train_y": np.arange(6) % 3 + 1}, "train_y has label 3 in row 2; labels go from 0 to 2"),
        ({"train_y": np.arange(6) % 2}, r"train has no image of class 2 \('crane'\)"),
        ({"test_x": np.ones((5, 3))}, "the number of dimensions D differs: train_x has 4, test_x has 3"),
        ({"text_x": np.ones((3, 2, 4))}, r"text_x is float64 of shape \(3, 2, 4\); shape \(K, D\) is wanted"),
        ({"text_x": np.ones((4, 4))}, "with K = 3 is wanted"),
        ({"logit_scale": np.ones(2)}, "a single number is wanted"),
        ({"logit_scale": np.array(-1.0)}, "logit_scale is -1.0; a positive number is wanted"),
    ],
)
def test_wrong_features_from_elsewhere_are_one_line(tmp_path, changes, message):
    path = npz(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as error:
        read_npz(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = npz(tmp_path, train_y=np.array([Trap()] * 6, object))
    with pytest.raises(UserError, match="train_y is an array of Python objects"):
        read_npz(path)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_npz_is_named(tmp_path):
    with pytest.raises(UserError, match=r"birds.npz: no such file"):
        read_npz(tmp_path / "birds.npz")
    np.save(tmp_path / "x.npy", np.ones(3))
    (tmp_path / "x.npy").rename(tmp_path / "birds.npz")
    with pytest.raises(UserError, match="not an npz file"):
        read_npz(tmp_path / "birds.npz")


def test_a_damaged_npz_is_named(tmp_path):
    path = npz(tmp_path)
    content = bytearray(path.read_bytes())
    start = content.index(b"train_x.npy") + 200
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(UserError, match="train_x is damaged"):
        read_npz(path)
