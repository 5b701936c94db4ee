"""Datasets: the sources that images come from, and their options."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from workflow.lib.data import datasets, registry
from workflow.lib.drawn import planes
from workflow.lib.errors import UserError

# --- options ----------------------------------------------------------------------------------------------------------


def test_options_get_their_defaults():
    source, options = datasets.resolve({"source": "fgvc_aircraft", "templates": ["a {}."]})
    assert source.name == "fgvc_aircraft"
    assert options == {"annotation_level": "variant", "root": None}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "source: None is unknown"),
        ({"source": "digit"}, r"source: 'digit' is unknown; did you mean digits\? \(known: digits, features, fgvc"),
        ({"source": ["digits"]}, "source: .* is unknown"),
        ({"source": "digits", "path": "x"}, r"path: not an option of source digits \(known: none\)"),
        ({"source": "fgvc_aircraft", "anotation_level": "x"}, "did you mean annotation_level"),
        ({"source": "fgvc_aircraft", "annotation_level": "maker"}, "'maker' is none of variant, family, manufacturer"),
        ({"source": "fgvc_aircraft", "root": 3}, "root: found 3, allowed: text: a folder that"),
        ({"source": "folder"}, "path: is wanted: the folder that holds"),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(spec, message):
    with pytest.raises(UserError, match=message):
        datasets.resolve(spec)


def test_views_are_an_option_of_every_source_with_images():
    for name, flip in {"digits": False, "planes": True, "fgvc_aircraft": True}.items():
        source, options = datasets.resolve({"source": name, "views": 3, "flip": True})
        assert not {"views", "flip"} & set(options)  # the images don't depend on them
        assert datasets.views({"source": name}, source) == {}
        assert datasets.views({"source": name, "views": 3}, source) == {"views": 3, "flip": flip}
        assert datasets.views({"source": name, "views": 3, "flip": not flip}, source)["flip"] is not flip


def test_without_images_there_are_no_views():
    with pytest.raises(UserError, match="views: there are no images to augment; allowed: train_views"):
        datasets.views({"source": "features", "views": 2}, registry.load().entries["features"].thing)


def test_every_source_with_images_has_templates():
    for source in (entry.thing for entry in registry.load().entries.values()):
        assert all("{}" in template for template in source.templates)
        assert bool(source.templates) == (source.prepare is not None)


def test_features_have_no_images_to_prepare(tmp_path):
    with pytest.raises(UserError, match="source features has no images"):
        datasets.prepare({"source": "features"}, tmp_path, threads=1)


# --- digits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return datasets.prepare({"source": "digits"}, tmp_path_factory.mktemp("digits"), threads=1)


def numbers(index, split):
    return [int(file.split("/")[1].removesuffix(".png")) for file, _ in index.splits[split]]


def test_digits_are_split_in_half_and_quarters(digits):
    assert {split: len(entries) for split, entries in digits.splits.items()} == {"train": 898, "val": 449, "test": 450}
    everything = [number for split in digits.splits for number in numbers(digits, split)]
    assert sorted(everything) == list(range(1797))


def test_every_split_of_digits_has_its_share_of_every_class(digits):
    whole = Counter(load_digits().target.tolist())
    for split, share in {"train": 0.5, "val": 0.25, "test": 0.25}.items():
        counts = Counter(label for _, label in digits.splits[split])
        assert all(abs(counts[label] - share * whole[label]) <= 1 for label in range(10))


def test_the_split_of_digits_is_always_the_same(digits):
    assert numbers(digits, "train")[:8] == [3, 5, 7, 8, 9, 13, 14, 15]
    assert numbers(digits, "val")[:8] == [2, 6, 17, 24, 28, 30, 32, 37]


def test_digits_are_scikit_learns_pixels_with_their_labels(digits):
    source = load_digits()
    for number, (file, label) in list(zip(numbers(digits, "test"), digits.splits["test"], strict=True))[:50]:
        with Image.open(digits.root / file) as image:
            np.testing.assert_array_equal(np.asarray(image), np.round(source.images[number] * 255 / 16))
        assert label == source.target[number]
    assert digits.classnames[7] == "seven"


# --- planes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_planes_are_drawn_into_every_split(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(planes, "VARIANTS", planes.VARIANTS[:3])
    monkeypatch.setattr(planes, "IMAGES_PER_CLASS", 2)
    index = datasets.prepare({"source": "planes"}, tmp_path, threads)
    assert index.classnames == tuple(variant.name for variant in planes.VARIANTS)
    assert {split: len(entries) for split, entries in index.splits.items()} == {"train": 6, "val": 6, "test": 6}
    for split, entries in index.splits.items():
        file, label = entries[3]
        with Image.open(index.root / file) as image:
            assert image.tobytes() == planes.image(label, split, 1).tobytes()
