"""Arrays beside the features: files of their own, that say whose they are; from elsewhere in the same npz file."""

from dataclasses import replace

import numpy as np
import pytest

from methods.contract.base import Projection
from methods.contract.needs import VECTORS
from tests.samples import make_features
from workflow.lib.errors import UserError
from workflow.lib.features import arrays, npz, npz_arrays, store
from workflow.lib.features.arrays import Array

MADE_OF = {"weights_sha256": "a", "index": "b", "templates": ["a {}."]}


def features(**changes):
    """Features of 8 dimensions, with views if asked for."""
    return replace(make_features(), metadata=dict(MADE_OF), **changes)


def array(name="pre", made=None, **changes):
    """An array beside such features."""
    made, rng = made or features(), np.random.default_rng(0)
    shape = (11,) if name == "pre" else (2, 4)
    splits = {k: rng.normal(size=(len(split.y), *shape)).astype(np.float32) for k, split in made.splits.items()}
    last = Projection(*(rng.normal(size=size).astype(np.float32) for size in ((11, 8), 8))) if name == "pre" else None
    return replace(Array(name, splits, dict(MADE_OF), projection=last), **changes)


def stored(folder, made):
    arrays.write(folder / "planes.array.safetensors", made)
    return arrays.read(folder / "planes.array.safetensors")


@pytest.mark.parametrize("name", VECTORS)
def test_an_array_is_read_as_it_was_written_and_stands_beside_the_features(tmp_path, name):
    made = array(name)
    found = arrays.added(features(), stored(tmp_path, made), "here")
    for split, rows in made.splits.items():
        np.testing.assert_array_equal(np.asarray(getattr(found.splits[split], name)[:]), rows)
    if name == "pre":
        assert all(np.array_equal(a, b) for a, b in zip(found.projection, made.projection, strict=True))


@pytest.mark.parametrize(("name", "kind"), [("pixels", np.uint8), ("blocks1", np.float32)])
def test_images_stand_beside_the_features_by_their_name(tmp_path, name, kind):
    held = {key: np.full((len(split.y), 4, 6, 3), 7, kind) for key, split in features().splits.items()}
    found = arrays.added(features(), stored(tmp_path, Array(name, held, dict(MADE_OF))), "here")
    for split, rows in held.items():
        again = found.splits[split].images[name][:]
        assert again.dtype == kind
        np.testing.assert_array_equal(again, rows)
    part = found.splits["train"].part(np.array([5, 2]))
    np.testing.assert_array_equal(part.images[name][0:2], held["train"][[5, 2]].reshape(2, -1))


def test_pixels_of_another_shape_are_refused():
    held = {key: np.ones((len(split.y), 3, 4, 6), np.uint8) for key, split in features().splits.items()}
    with pytest.raises(UserError, match=r"train_pixels has shape \(48, 3, 4, 6\); \(N, H, W, 3\) with N = 48"):
        arrays.added(features(), Array("pixels", held, dict(MADE_OF)), "here")


def test_equal_arrays_are_equal_bytes_and_a_flipped_bit_is_found(tmp_path):
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        arrays.write(path, array())
    data = paths[0].read_bytes()
    assert data == paths[1].read_bytes()
    middle = len(data) // 3
    paths[0].write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(UserError, match="damaged: train_pre, rows"):
        arrays.read(paths[0]).splits["train"][:]


def test_views_before_the_projection_come_with_pre(tmp_path):
    views, before = (np.ones((48, 3, dim), np.float32) for dim in (8, 11))
    made = features(train_views=views)
    found = arrays.added(made, stored(tmp_path, array(made=made, views=before)), "here")
    assert found.views_pre.shape == (48, 3, 11)
    with pytest.raises(UserError, match=r"the views of train before the projection are missing; \(48, 3, 11\)"):
        arrays.added(made, array(made=made), "here")


def test_an_array_that_a_backbone_has_not_is_the_reason(tmp_path):
    absent = stored(tmp_path, Array("pre", absent="its tower has no projection"))
    assert arrays.added(features(), absent, "here").lacking == {"pre": "its tower has no projection"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pre", {"metadata": MADE_OF | {"weights_sha256": "c"}}, "they differ in weights_sha256; delete it"),
        ("spatial_logits", {"metadata": MADE_OF | {"templates": []}}, "they differ in templates"),
        ("pre", {"splits": {"train": np.ones((48, 11), np.float32)}}, "no array val_pre, and there is val_x"),
        ("pre", {"projection": None}, r"no array projection, the \(D', D\)"),
        ("pre", {"projection": Projection(np.ones((8, 11)), np.ones(8))}, r"shape \(8, 11\); \(D', D\) with D' = 11"),
        ("pre", {"projection": Projection(np.ones((11, 8)), np.ones(11))}, r"projection_bias has shape \(11,\); \(D"),
    ],
)
def test_what_is_not_of_these_features_is_refused(name, change, message):
    with pytest.raises(UserError, match=message):
        arrays.added(features(), array(name, **change), "here")


@pytest.mark.parametrize("key", ["index", "weights_sha256", "preprocess", "precision", "activation", "left_out"])
def test_what_was_made_otherwise_than_the_features_is_refused(key):
    """Whichever of both says so."""
    told = {**MADE_OF, key: "another"}
    for made, beside in ((MADE_OF, told), (told, MADE_OF)):
        with pytest.raises(UserError, match=f"they differ in {key}; delete it"):
            arrays.added(replace(features(), metadata=dict(made)), array(metadata=dict(beside)), "here")


def test_rows_of_another_number_are_refused():
    short = array("spatial_logits")
    rows = {split: part[:5] for split, part in short.splits.items()}
    with pytest.raises(UserError, match=r"train_spatial_logits has shape \(5, 2, 4\); \(N, 2, K\) with K = 4 .*N = 48"):
        arrays.added(features(), replace(short, splits=rows), "here")


def test_a_features_file_is_no_array(tmp_path):
    store.write(tmp_path / "x", features())
    with pytest.raises(UserError, match="not an array beside features"):
        arrays.read(tmp_path / "x")


# --- from elsewhere --------------------------------------------------------------------------------------------------


def saved(folder, **changes):
    """An npz file with everything, with changes; `None` takes one away."""
    made, rng = make_features(classes=3), np.random.default_rng(0)
    last = rng.normal(size=(8, 11)).T  # the pseudo-inverse of which makes pre of x
    held = {"classnames": np.array(made.classnames), "projection": last, "text_each_x": rng.normal(size=(3, 5, 8))}
    for name, split in made.splits.items():
        held |= {f"{name}_x": split.x, f"{name}_y": split.y, f"{name}_pre": split.x @ np.linalg.pinv(last)}
        held[f"{name}_spatial_logits"] = rng.normal(size=(len(split.y), 2, 3))
    np.savez(folder / "x.npz", **{key: array for key, array in (held | changes).items() if array is not None})
    return folder / "x.npz"


def taken(path, name="pre"):
    return npz_arrays.read(path, name, npz.read_npz(path))


def test_features_from_elsewhere_may_bring_all_of_them(tmp_path):
    path = saved(tmp_path)
    made = npz.read_npz(path)
    for name in VECTORS:
        made = arrays.added(made, stored(tmp_path, taken(path, name)), "here")
    train = made.splits["train"]
    np.testing.assert_allclose(train.pre[:] @ made.projection.weight, train.x, rtol=1e-3, atol=1e-4)
    assert (made.projection.bias.any(), train.spatial_logits.shape) == (False, (36, 2, 3))
    assert made.each_text().shape == made.text.shape == (3, 5, 8)


def test_views_from_elsewhere_come_with_theirs_before_the_projection(tmp_path):
    last = np.load(saved(tmp_path))["projection"]
    views = np.random.default_rng(1).normal(size=(36, 2, 8))
    path = saved(tmp_path, train_views=views, train_views_pre=views @ np.linalg.pinv(last))
    assert taken(path).views.shape == (36, 2, 11)


def test_prompts_one_by_one_survive_the_features_file(tmp_path):
    made = npz.read_npz(saved(tmp_path, text_x=np.eye(3, 8)))
    store.write(tmp_path / "x", made)
    found = store.read(tmp_path / "x")
    assert (found.text.shape, found.text_each.shape) == ((3, 1, 8), (3, 5, 8))


def test_a_mean_from_elsewhere_is_no_set_of_prompts_and_the_prompts_of_a_model_are():
    assert features().each_text().shape == (4, 2, 8)
    assert replace(features(), metadata={"spec": {"features": "x.npz"}}).each_text() is None


def test_what_the_file_has_not_is_absent_with_what_to_do(tmp_path):
    path = saved(tmp_path, train_pre=None, val_pre=None, test_pre=None)
    assert "put train_pre (N, D')" in taken(path).absent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_each_x": np.ones((3, 8))}, r"text_each_x is float64 of shape \(3, 8\); shape \(K, P, D\) with K = 3"),
        ({"text_each_x": np.ones((3, 2, 7))}, "D differs: train_x has 8, text_each_x 7"),
        ({"text_each_x": np.ones((3, 2, 8), int)}, "text_each_x is int64 .* floating-point numbers are wanted"),
        ({"text_each_x": np.full((3, 2, 8), np.nan)}, "text_each_x has NaN or infinite values, first in row 0"),
        ({"text_x": np.full((3, 8), 1e300)}, "text_x has NaN or infinite values, first in row 0"),
        ({"text_x": np.ones((3, 7))}, "D differs: train_x has 8, text_x 7"),
        ({"text_each_x": np.zeros((3, 2, 8))}, "text_each_x has only zeros in row 0"),
        ({"train_pre": np.ones((36, 11), int)}, "train_pre is int64 .* floating-point numbers are wanted"),
        ({"train_pre": np.full((36, 11), np.nan)}, "train_pre has NaN or infinite values, first in row 0"),
        ({"train_pre": np.ones((36, 11))}, "train_pre @ projection .* is not train_x: their cosine is .* in row 0"),
        ({"train_pre": np.ones(36)}, r"train_pre has shape \(36,\); \(N, D'\) with N = 36, the rows of train_x"),
        ({"train_pre": np.ones((36, 0))}, r"train_pre has shape \(36, 0\); \(N, D'\) with N = 36"),
        ({"projection": None}, "no array projection"),
        ({"val_pre": None}, "no array val_pre"),
        ({"train_views_pre": np.ones((36, 2, 11))}, "no array train_views, and there is train_views_pre"),
        (
            {"train_views": np.ones((36, 2, 8)) * np.arange(1, 9), "train_views_pre": np.ones((36, 2, 11))},
            "train_views_pre @ projection .* is not train_views: their cosine is .* in row 0",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        taken(saved(tmp_path, **change))
