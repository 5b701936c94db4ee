"""Features from elsewhere: an npz file is read without pickles, and every mistake in it is one line."""

import numpy as np
import pytest

from tests.features.test_store import CLASSNAMES, NAN, split
from workflow.lib.errors import UserError
from workflow.lib.features.npz import read_npz


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


def test_features_from_elsewhere_may_have_views(tmp_path):
    views = np.random.default_rng(1).standard_normal((6, 2, 4))
    found = read_npz(npz(tmp_path, train_views=views)).train_views
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, views, rtol=1e-6)


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
        (
            {"classnames": np.array([0, 1, 2])},
            r"classnames is int64 of shape \(3,\); strings of shape \(K,\) are wanted: save np.array\(classnames, dty",
        ),
        (
            {"classnames": np.array(CLASSNAMES, object)},
            r"classnames is an array of Python objects, which is never unpickled: save np.array\(names, dtype=str\)",
        ),
        ({"classnames": np.array(["heron"])}, "one class only, 'heron': there is nothing to tell it from"),
        ({"train_x": np.array([[None]])}, "train_x is an array of Python objects, which is never unpickled"),
        ({"train_x": np.ones((6, 4), int)}, "train_x is int64 .* floating-point numbers are wanted"),
        ({"train_x": np.ones((6, 4, 1))}, r"train_x has shape \(6, 4, 1\); \(N, D\) is wanted"),
        ({"train_x": np.ones((5, 4))}, r"train_y has shape \(6,\); \(5,\) is wanted"),
        ({"train_x": np.full((6, 4), 1e300)}, "train_x has NaN or infinite values, first in row 0"),
        ({"train_x": NAN}, "train_x has NaN or infinite values, first in row 0"),
        ({"train_y": np.arange(6.0)}, "train_y is float64 .* integers from 0 to K - 1 are wanted"),
        ({"train_y": np.arange(6) % 3 + 2}, "train_y has label 3 in row 1; labels go from 0 to 2"),
        (
            {"train_y": np.arange(6) % 3 + 1, "test_y": np.arange(5) % 3 + 1},
            "labels go from 1 to 3, and are wanted from 0 to 2: save train_y - 1, test_y - 1",
        ),
        ({"train_y": np.arange(6) % 2}, r"train has no image of class 2 \('crane'\)"),
        ({"test_x": np.ones((5, 3))}, "the number of dimensions D differs: train_x has 4, test_x has 3"),
        (
            {"text_x": np.ones((3, 2, 4))},
            r"\(3, 2, 4\); shape \(K, D\) with K = 3 is wanted: save the mean over templates",
        ),
        (
            {"text_x": np.ones((4, 3))},
            r"\(4, 3\), which is \(D, K\); shape \(K, D\) with K = 3 is wanted: save text_x.T",
        ),
        (
            {"text_x": np.ones((3, 2, 4, 1))},
            r"text_x is float64 of shape \(3, 2, 4, 1\); shape \(K, D\) with K = 3 is wanted$",
        ),
        ({"text_x": np.ones(4)}, r"text_x is float64 of shape \(4,\); shape \(K, D\) with K = 3 is wanted"),
        ({"text_x": np.eye(3, 4) * [[1], [0], [1]]}, "text_x has only zeros in row 1: no direction to compare$"),
        ({"text_x": np.ones((4, 4))}, "with K = 3 is wanted"),
        ({"train_views": np.ones((6, 4))}, r"train_views has shape \(6, 4\); \(N, V, D\) with N = 6"),
        ({"train_views": np.ones((6, 2, 4), int)}, "train_views is int64 .* floating-point numbers are wanted"),
        ({"logit_scale": np.ones(2)}, "a single number is wanted"),
        ({"logit_scale": np.array(-1.0)}, "logit_scale is -1.0; a positive number is wanted"),
        (
            {"logit_scale": np.array(4.6052)},
            r"is 4.6052, .*if this is its logarithm, .* save np.exp of it, 100; `logit",
        ),
        ({"logit_scale": np.array(2.6593)}, "if this is its logarithm, as models store it, save np.exp of it, 14.29; "),
        (
            {"logit_scale": np.array(0.01)},
            "is 0.01, .*if this is a temperature, save one over it, 100; `logit_scale: NUM",
        ),
        (
            {"logit_scale": np.array(1)},
            "logit_scale is 1, .*5 to 1000, is wanted; `logit_scale: NUMBER` in the backbone",
        ),
        ({"logit_scale": np.array(1001.0)}, "logit_scale is 1001, and exp.logit_scale. of a CLIP model, 5 to 1000, is"),
        (
            {"train_x": np.where(np.arange(6)[:, None] % 3 == 1, 0, split(6).x)},
            r"only zeros in row 1 \(2 rows in all\)",
        ),
        (
            {"train_views": np.ones((6, 2, 4)) * (np.arange(6) != 4)[:, None, None]},
            "train_views has only zeros in row 4",
        ),
    ],
)
def test_wrong_features_from_elsewhere_are_one_line(tmp_path, changes, message):
    path = npz(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as error:
        read_npz(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scale", [5.0, 14.3, 1000])
def test_scales_of_clip_models_are_taken(tmp_path, scale):
    assert read_npz(npz(tmp_path, logit_scale=np.array(scale))).logit_scale == pytest.approx(scale)


@pytest.mark.parametrize("scale", [4.6, 0.01, 1e4])
def test_a_scale_that_the_study_says_is_taken_whatever_the_file_has(tmp_path, scale):
    assert read_npz(npz(tmp_path, logit_scale=np.array(4.6)), logit_scale=scale).logit_scale == pytest.approx(scale)
    assert read_npz(npz(tmp_path), logit_scale=scale).logit_scale == pytest.approx(scale)


def test_rows_of_zeros_that_are_let_in_are_counted_and_named(tmp_path, caplog):
    x = split(6).x.copy()
    x[[1, 4]] = 0
    found = read_npz(npz(tmp_path, train_x=x), allow_zeros=True)
    assert found.metadata["zeros"] == {"train_x": [1, 4]}
    assert "train_x: 2 rows of zeros, the first in [1, 4]" in caplog.text
    assert "zeros" not in read_npz(npz(tmp_path), allow_zeros=True).metadata
    with pytest.raises(UserError, match="text_x has only zeros in row 0"):
        read_npz(npz(tmp_path, text_x=np.zeros((3, 4))), allow_zeros=True)


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
