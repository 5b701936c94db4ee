"""Augmented views of training images: what is drawn, that it is always the same, and how it gets into the features."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from workflow.lib.data.index import Index
from workflow.lib.encoding import backbones, extraction, shards, views
from workflow.lib.encoding.images import Preprocess, open_rgb
from workflow.lib.encoding.views import Augmentation
from workflow.lib.errors import UserError
from workflow.lib.features import store

SIZE = (32, 32)  # that of the tiny model's images


def folder_of_images(root, shapes):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(shapes):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(root / f"{number}.png")
    return [root / f"{number}.png" for number in range(len(shapes))]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Seven images of several shapes."""
    shapes = np.random.default_rng(1).integers(20, 90, (7, 2))
    return folder_of_images(tmp_path_factory.mktemp("images"), shapes)


@pytest.fixture
def index(paths):
    entries = [(path.name, number % 2) for number, path in enumerate(paths)]
    return Index(("owl", "elk"), paths[0].parent, {"train": entries[:5], "test": entries[5:]})


def draws(augmentation, height, width, count):
    return [augmentation.box(height, width, np.random.default_rng(seed)) for seed in range(count)]


# --- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(64, 64), (200, 90), (31, 57)])
def test_crops_lie_in_the_image_and_have_the_area_and_the_ratio_that_are_allowed(height, width):
    for top, left, h, w in draws(Augmentation(SIZE), height, width, 300):
        assert 0 <= top <= height - h
        assert 0 <= left <= width - w
        slack = (h + w) / (h * w)  # sides are rounded to whole pixels
        assert 0.5 * (1 - slack) <= h * w / (height * width) <= 1
        assert 3 / 4 * (1 - slack) <= w / h <= 4 / 3 * (1 + slack)


def test_crops_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    image = Image.new("RGB", (150, 120))
    theirs = [RandomResizedCrop.get_params(image, [0.5, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)]
    ours = draws(Augmentation(SIZE), 120, 150, 3000)
    for found, expected in zip(np.transpose(ours), np.transpose(theirs), strict=True):
        assert np.quantile(found, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(expected, [0.1, 0.5, 0.9]), abs=4)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(30, 90, (0, 25, 30, 40)), (90, 30, (25, 0, 40, 30)), (40, 40, (0, 0, 40, 40)), (1, 9, (0, 4, 1, 1))],
)
def test_where_no_crop_fits_it_is_the_largest_in_the_middle(height, width, box, monkeypatch):
    monkeypatch.setattr(views, "_ATTEMPTS", 0)
    assert Augmentation(SIZE).box(height, width, np.random.default_rng(0)) == box


def test_about_half_of_the_views_are_mirrored_unless_mirroring_is_off(paths):
    image = open_rgb(paths[0])
    whole = {"scale": (1.0, 1.0), "ratio": (image.width / image.height,) * 2}
    plain, mirrored = (np.asarray(Augmentation(SIZE, flip, **whole).view(image, 0, 0)) for flip in (0.0, 1.0))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])

    def share(flip):
        found = [np.asarray(Augmentation(SIZE, flip, **whole).view(image, 3, number)) for number in range(200)]
        assert all(np.array_equal(view, plain) or np.array_equal(view, mirrored) for view in found)
        return np.mean([np.array_equal(view, mirrored) for view in found])

    assert 0.35 < share(0.5) < 0.65
    assert share(0.0) == 0


def test_a_view_depends_on_the_row_and_its_number_alone(paths):
    how = Augmentation(SIZE)
    together = views.load(how, 3, list(enumerate(paths))).reshape(7, 3, *SIZE, 3)
    for row in (4, 0, 6):
        alone = views.load(how, 2, [(row, paths[row])])
        np.testing.assert_array_equal(alone, together[row, :2])
    same_image = views.load(how, 1, [(0, paths[0]), (1, paths[0])])
    assert not np.array_equal(same_image[0], same_image[1])


# --- as features -----------------------------------------------------------------------------------------------------


def embed(backbone, paths, count, threads=1, batch_size=4, how=None):
    images = list(enumerate(paths))
    return extraction.embed_views(backbone, images, how or Augmentation(SIZE), count, batch_size, threads)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_views_are_the_same_every_time_whatever_the_threads(backbone, paths, count):
    first, *others = [embed(backbone, paths, count, threads) for threads in (1, 1, 2, 4)]
    assert (first.shape, first.dtype) == ((7, count, 16), np.float32)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_views_depend_on_batches_only_in_rounding_and_more_views_leave_the_first_as_they_are(
    backbone, paths, batch_size
):
    expected = embed(backbone, paths, 3)
    np.testing.assert_allclose(embed(backbone, paths, 3, 2, batch_size), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(embed(backbone, paths, 2, 2, batch_size), expected[:, :2], rtol=1e-4, atol=1e-5)


def test_views_of_an_image_differ_from_one_another_and_from_it(backbone, paths):
    all_of_it = np.concatenate([extraction.embed_images(backbone, paths, 4, 1)[:, None], embed(backbone, paths, 3)], 1)
    for image in all_of_it:
        gaps = np.abs(image[:, None] - image).max(-1)
        assert (gaps[~np.eye(4, dtype=bool)] > 1e-3).all()


def test_a_view_of_the_whole_image_is_the_image(backbone, tmp_path):
    squares = folder_of_images(tmp_path, [(40, 40), (32, 32), (21, 21), (77, 77)])
    how = Augmentation(SIZE, flip=0.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    loaded = views.load(how, 1, list(enumerate(squares)))
    np.testing.assert_array_equal(loaded, Preprocess(backbone.preprocess).load(squares))
    plain = extraction.embed_images(backbone, squares, 4, 1)
    np.testing.assert_allclose(embed(backbone, squares, 1, how=how)[:, 0], plain, rtol=1e-5, atol=1e-6)


def test_views_are_normalised_as_the_backbone_wants_it(backbone, paths):
    """One view at a time, from the image to the embedding, by open_clip's own last steps."""
    how = Augmentation(SIZE)
    *_, to_tensor, normalize = backbone.preprocess.transforms
    for row, found in enumerate(embed(backbone, paths, 2)):
        for number in range(2):
            pixels = normalize(to_tensor(how.view(open_rgb(paths[row]), row, number)))
            expected = backbone.encode_images(pixels[None])[0]
            np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-5)


def test_an_image_that_cannot_be_read_is_named(backbone, paths, tmp_path):
    (tmp_path / "no.png").write_bytes(paths[0].read_bytes()[:200])
    with pytest.raises(UserError, match=r"no\.png: not a readable image"):
        embed(backbone, [paths[0], tmp_path / "no.png"], 2)


@pytest.mark.parametrize(("size", "expected"), [(24, (24, 24)), ([24, 32], (24, 32))])
def test_views_have_the_size_of_the_backbones_images(backbone, size, expected):
    other = backbones.Backbone(**{**vars(backbone), "preprocessing": json.dumps({"size": size})})
    assert extraction.augmentation(other, flip=True) == Augmentation(expected)
    assert extraction.augmentation(other, flip=False).flip == 0


def test_extraction_stores_views_of_train_and_how_they_were_made(spec, backbone, index, paths, tmp_path):
    plain, made = (
        shards.gather(index, [extraction.extract(index, spec, [], {}, threads=2, device="cpu", **asked)])
        for asked in ({}, {"views": 2, "flip": False})
    )
    store.write(tmp_path / "x", made)
    found = store.read(tmp_path / "x")
    how = extraction.augmentation(backbone, flip=False)
    np.testing.assert_array_equal(found.train_views, embed(backbone, paths[:5], 2, batch_size=16, how=how))
    np.testing.assert_array_equal(found.splits["train"].x, plain.splits["train"].x)
    recorded = dict(found.metadata["views"])
    assert (recorded.pop("count"), recorded.pop("size")) == (2, list(SIZE))
    assert {key: recorded[key] for key in ("flip", "scale", "interpolation")} == {
        "flip": 0.0,
        "scale": [0.5, 1.0],
        "interpolation": "bicubic",
    }
    assert plain.train_views is None
    assert "views" not in plain.metadata
