"""The drawn aircraft: how many there are, and that a picture depends on its seed alone."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from itertools import pairwise, product

import numpy as np
import pytest
from PIL import Image

from workflow.lib.drawn import planes
from workflow.lib.nano import drawings

PINNED = {
    (0, "train", 0): "18d3f55aeb9ade331f2010a1e2b0f9fb4bb66603d25608aacccd4ac054fde696",
    (42, "val", 7): "3ef9b2733c7147e070d04189ec076e25174f9f3d8a1f074d568f87a4dc787dc0",
    (99, "test", 32): "77cfe9c167169e04ec11a8244c6be4add8b90c723cb3fa4f5602621c76ba37d3",
}


def digest(picture: Image.Image) -> str:
    """The hash of the pixels."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def drawn(variant: planes.Variant, seed: int) -> bytes:
    """The pixels of a drawing."""
    return planes.draw(variant, np.random.default_rng(seed)).tobytes()


def test_there_are_100_variants_in_30_families_of_10_makers() -> None:
    assert len(planes.VARIANTS) == len({v.name for v in planes.VARIANTS}) == 100
    assert len({v.family for v in planes.VARIANTS}) == 30
    assert len({v.maker for v in planes.VARIANTS}) == 10


def test_a_name_begins_with_the_family_and_the_family_with_the_maker() -> None:
    for variant in planes.VARIANTS:
        assert variant.name.startswith(variant.family)
        assert variant.family.startswith(variant.maker + " ")


def test_every_family_has_three_or_four_variants_beside_each_other() -> None:
    families = [v.family for v in planes.VARIANTS]
    assert {families.count(family) for family in families} == {3, 4}
    changes = sum(a != b for a, b in pairwise(families))
    assert changes == 29


def test_variants_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        planes.VARIANTS[0].length = 1.0  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize("key", PINNED, ids=str)
def test_the_study_has_the_same_pixels_everywhere(key: tuple[int, str, int]) -> None:
    assert digest(planes.image(*key)) == PINNED[key]


def test_pictures_are_64_by_64_rgb() -> None:
    picture = planes.image(3, "train", 1)
    assert (picture.size, picture.mode) == ((64, 64), "RGB")


def test_a_picture_does_not_depend_on_the_ones_before_it() -> None:
    keys = list(product((5, 60), planes.SPLITS, (0, 32)))
    forwards = {key: digest(planes.image(*key)) for key in keys}
    assert {key: digest(planes.image(*key)) for key in reversed(keys)} == forwards


def test_all_pictures_of_a_variant_differ() -> None:
    keys = list(product((17,), planes.SPLITS, range(planes.IMAGES_PER_CLASS)))
    assert len({digest(planes.image(*key)) for key in keys}) == len(keys) == 99


def test_every_variant_looks_different_in_the_same_pose() -> None:
    """From three quarters, where nothing is hidden behind the fuselage, every trait of a variant shows."""
    assert all(len({drawn(v, seed) for v in planes.VARIANTS}) > 90 for seed in range(3))
    views = {tuple(drawn(v, seed) for seed in range(6)) for v in planes.VARIANTS}
    assert len(views) == 100


def test_the_same_seed_draws_the_same_pixels() -> None:
    assert drawn(planes.VARIANTS[8], 4) == drawn(planes.VARIANTS[8], 4)
    assert drawn(planes.VARIANTS[8], 4) != drawn(planes.VARIANTS[8], 5)


def test_families_differ_more_than_their_variants() -> None:
    """Pixels that change, in the same pose and weather, between neighbours in a family and between families."""
    stacks = [np.stack([np.frombuffer(drawn(v, seed), np.uint8) for seed in range(4)]) for v in planes.VARIANTS]
    within: list[float] = []
    between: list[float] = []
    for number in range(99):
        gap = float((np.abs(stacks[number].astype(int) - stacks[number + 1]) > 40).mean())
        same = planes.VARIANTS[number].family == planes.VARIANTS[number + 1].family
        (within if same else between).append(gap)
    assert np.mean(between) > 1.5 * np.mean(within) > 0


def test_training_drawings_are_never_pictures_of_the_study() -> None:
    assert drawings.TRAINING_STREAM != planes.STUDY_STREAM
    for variant in (0, 99):
        study = {
            digest(planes.image(variant, split, number))
            for split, number in product(planes.SPLITS, range(planes.IMAGES_PER_CLASS))
        }
        trained_on = {hashlib.sha256(drawings.drawing(variant, number).tobytes()).hexdigest() for number in range(200)}
        assert not study & trained_on


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ((0, "trian", 0), "no split 'trian'; it has train, val, test"),
        ((100, "train", 0), "variants 0 to 99, not 100"),
        ((-1, "train", 0), "variants 0 to 99, not -1"),
        ((0, "train", 33), "images 0 to 32 per class and split, not 33"),
    ],
)
def test_what_the_study_does_not_have_is_named(key: tuple[int, str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        planes.image(*key)
