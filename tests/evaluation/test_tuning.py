"""A sweep as one row: what its variants differ in, and what is taken of them under each regime."""

from collections.abc import Mapping
from typing import Any

import pytest

from workflow.lib.evaluation import tuning
from workflow.lib.evaluation.protocol import Outcome, Score

REGIMES = ["last", "support_cv", "val_full"]


def outcome(scores: Mapping[str, Score], curve: list[float]) -> Outcome:
    """Of so many epochs, whose last one every regime has chosen."""
    made = Outcome(REGIMES)
    for regime, choice in made.choices.items():
        choice.point, choice.score = {"epoch": len(curve)}, scores.get(regime, ())
    made.points, made.curve = [{"epoch": i + 1} for i in range(len(curve))], curve
    made.fit_seconds, made.cv_seconds, made.notes = 1.0, 2.0, [f"{len(curve)} epochs"]
    return made


def joined(*scores: Mapping[str, Score], images: int = 100) -> dict[str, Any]:
    """Which variant each regime takes, of those with these scores."""
    several = [({"lr": i}, outcome(one, [0.5])) for i, one in enumerate(scores)]
    return {regime: choice.point["lr"] for regime, choice in tuning.joined(several, images).choices.items()}


def test_what_differs_is_told_with_each_value_once_in_order() -> None:
    variants = [{"lr": 2, "b": 1, "c": 0}, {"lr": 1, "b": 1, "c": 0}, {"lr": 2, "b": 1, "c": 5}]
    assert tuning.differing(variants) == {"lr": [2, 1], "c": [0, 5]}
    assert tuning.differing(variants[:1]) == {}


@pytest.mark.parametrize(("images", "taken"), [(100, 0), (10000, 1)])
def test_only_cross_validation_leaves_the_default_for_more_than_chance(images: int, taken: int) -> None:
    """0.81 is half a standard error from 0.80 with 385 images; of other regimes the best is the best."""
    scores: list[dict[str, Score]] = [dict.fromkeys(REGIMES[1:], (share, -1.0)) for share in (0.80, 0.81)]
    assert joined(*scores, images=images) == {"last": 0, "support_cv": taken, "val_full": 1}


def test_of_equals_and_without_anything_to_choose_by_the_default_is_taken() -> None:
    nothing: dict[str, Score] = {}
    same: dict[str, Score] = dict.fromkeys(REGIMES[1:], (0.5, -1.0))
    assert joined(nothing, nothing) == joined(same, same) == dict.fromkeys(REGIMES, 0)


def test_the_one_outcome_has_all_points_and_the_default_s_at_their_end() -> None:
    several = [({"lr": lr}, outcome({}, curve)) for lr, curve in ((1, [0.1, 0.2]), (2, [0.3]), (3, [0.4]))]
    whole = tuning.joined(several, 100)
    assert whole.curve == [0.3, 0.4, 0.1, 0.2]
    assert whole.points == [{"lr": lr, "epoch": epoch} for lr, epoch in ((2, 1), (3, 1), (1, 1), (1, 2))]
    assert (whole.fit_seconds, whole.cv_seconds) == (3.0, 6.0)
    assert sorted(whole.notes) == ["1 epochs", "1 epochs", "2 epochs"]
    assert whole.choices["last"].point == {"lr": 1, "epoch": 2}
