"""Which labelled images a seed draws."""

import numpy as np
import pytest

from workflow.lib.errors import UserError
from workflow.lib.evaluation import supports

NAMES = ("ant", "bee", "cat")
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [30, 7, 12])).astype(np.int64)


@pytest.mark.parametrize("shots", [1, 2, 5, 7])
def test_there_are_so_many_of_every_class_and_none_twice(shots: int) -> None:
    rows = supports.draw(LABELS, NAMES, str(shots), 0)
    assert np.bincount(LABELS[rows]).tolist() == [shots] * 3
    assert len(set(rows.tolist())) == len(rows)


@pytest.mark.parametrize(("fewer", "more"), [("1", "2"), ("2", "5"), ("5", "7"), ("7", "all")])
def test_supports_are_nested(fewer: str, more: str) -> None:
    small, large = (supports.draw(LABELS, NAMES, shots, seed=3) for shots in (fewer, more))
    for k in range(3):
        own = small[LABELS[small] == k]
        assert own.tolist() == large[LABELS[large] == k][: len(own)].tolist()


def test_all_takes_the_whole_split_in_an_order_of_the_seed() -> None:
    first, second = (supports.draw(LABELS, NAMES, "all", seed) for seed in (0, 1))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(len(LABELS)))
    assert first.tolist() != second.tolist()


def test_the_same_seed_draws_the_same_and_another_seed_another() -> None:
    draws = [supports.draw(LABELS, NAMES, "5", seed).tolist() for seed in (0, 0, 1, 2)]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3


def test_the_draw_is_the_same_on_every_machine() -> None:
    """Published numbers hang on it: a change here makes every older result another study."""
    assert supports.draw(np.arange(6) % 2, NAMES[:2], "2", seed=0).tolist() == [2, 0, 5, 1]


def test_the_draw_of_a_class_is_independent_of_the_other_classes() -> None:
    """A dataset that gains a class keeps the supports of the others."""
    two = np.flatnonzero(LABELS < 2)
    with_third = supports.draw(LABELS, NAMES, "5", 0)
    without = two[supports.draw(LABELS[two], NAMES[:2], "5", 0)]
    assert with_third[:10].tolist() == without.tolist()


def test_train_and_val_are_drawn_differently() -> None:
    train, val = (supports.draw(LABELS, NAMES, "5", 0, split) for split in ("train", "val"))
    assert train.tolist() != val.tolist()


def test_no_shots_are_no_rows() -> None:
    rows = supports.draw(LABELS, NAMES, "0", 0)
    assert (rows.tolist(), rows.dtype) == ([], np.int64)


@pytest.mark.parametrize("shots", ["8", "31"])
def test_a_class_with_too_few_images_is_named(shots: str) -> None:
    name, size = ("bee", 7) if shots == "8" else ("ant", 30)
    message = f"class '{name}' has {size} images in train, {shots} are asked for: lower `shots`"
    with pytest.raises(UserError) as caught:
        supports.draw(LABELS, NAMES, shots, 0)
    assert str(caught.value) == f"{message}, or set `allow_fewer: true`"


def test_where_fewer_are_allowed_a_class_gives_all_it_has() -> None:
    rows = supports.draw(LABELS, NAMES, "20", 0, allow_fewer=True)
    assert np.bincount(LABELS[rows]).tolist() == [20, 7, 12]


@pytest.mark.parametrize(("shots", "per_class"), [("0", 0), ("1", 1), ("3", 3), ("4", 4), ("16", 4), ("all", 4)])
def test_the_few_shot_selection_split_has_at_most_four_of_each_class(shots: str, per_class: int) -> None:
    rows = supports.draw_val(LABELS, NAMES, shots, 0)
    assert np.bincount(LABELS[rows], minlength=3).tolist() == [per_class] * 3


def test_a_class_with_fewer_val_images_gives_all_it_has() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1])
    rows = supports.draw_val(labels, NAMES[:2], "16", 0)
    assert np.bincount(labels[rows]).tolist() == [4, 1]
