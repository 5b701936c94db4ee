"""What a winner is worth: against truth in simulations, against a plain loop, and where there is nothing to correct."""

import numpy as np
import pytest

from workflow.lib.reporting import terms
from workflow.lib.reporting.saved import Saved
from workflow.lib.reporting.statistics import Floats, Terms, weights
from workflow.lib.reporting.winner import left_out, winner


def of_hits(hits: np.ndarray) -> list[Terms]:
    """Rows of an accuracy, of hits `(R, S, M)`."""
    return [Terms(one.astype(np.float64), np.zeros(len(one)), float(one.shape[1])) for one in hits]


def highest(rows: list[Terms]) -> int:
    return int(np.argmax([row.terms.sum() + row.offset.sum() for row in rows]))


def simulated(rng: np.random.Generator, truths: Floats, images: int = 200, seeds: int = 3) -> np.ndarray:
    """Hits of rows that are right so often, on images of their own difficulty, with seeds that are lucky or not."""
    shape = (len(truths), seeds, images)
    difficulty = 0.10 * rng.standard_normal((1, 1, images))
    luck = 0.03 * rng.standard_normal((*shape[:2], 1))
    own = 0.15 * rng.standard_normal((len(truths), 1, images))
    return rng.random(shape) < truths[:, None, None] + difficulty + luck + own


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_an_uncorrected_winner_is_too_good_and_a_corrected_one_is_not(spread: float) -> None:
    rng = np.random.default_rng(0)
    plain, corrected = [], []
    for study in range(150):
        truths = 0.6 + spread * rng.standard_normal(12)
        rows = of_hits(simulated(rng, truths))
        best = highest(rows)
        plain.append(rows[best].terms.mean() - truths[best])
        corrected.append(winner(rows, best, name=str(study), resamples=60).value - truths[best])
    error = np.std(corrected) / np.sqrt(len(corrected))
    assert np.mean(plain) > 0.015
    assert np.mean(corrected) < 2 * error  # not too good
    assert np.mean(corrected) > -0.4 * np.mean(plain) - 2 * error  # and not much too bad


def test_it_is_what_a_plain_loop_makes_of_the_same_resamples() -> None:
    hits = simulated(np.random.default_rng(1), np.full(5, 0.5), images=40)
    best = int(hits.mean((1, 2)).argmax())
    (drawn,) = weights(40, None, "digits", 50)
    losses, first = [], np.zeros(5)
    for counts in drawn:
        outside = counts == 0
        for seed in range(3):
            others = [one for one in range(3) if one != seed]
            inside = (hits[:, others] * counts).sum((1, 2))
            tied = np.flatnonzero(inside == inside.max())
            left = hits[:, seed][:, outside].mean(1)
            losses.append(left[tied].mean() - left[best])
            first[tied] += 1 / len(tied)
    found = winner(of_hits(hits), best, name="digits", resamples=50)
    assert found.value == pytest.approx(hits[best].mean() + np.mean(losses))
    assert found.first == pytest.approx(first / 150)


def test_a_single_row_is_worth_what_the_table_says() -> None:
    hits = simulated(np.random.default_rng(2), np.array([0.7]))
    found = winner(of_hits(hits), 0)
    assert found.value == pytest.approx(hits.mean(), abs=1e-12)
    assert found.first.tolist() == [1.0]


def test_a_row_that_always_wins_is_worth_what_the_table_says() -> None:
    hits = simulated(np.random.default_rng(3), np.array([0.3, 0.9]))
    found = winner(of_hits(hits), 1)
    assert found.value == pytest.approx(hits[1].mean(), abs=1e-12)
    assert found.first.tolist() == [0.0, 1.0]


def test_rows_that_say_the_same_share_the_picks_and_lose_nothing() -> None:
    hits = simulated(np.random.default_rng(4), np.array([0.6]))
    found = winner(of_hits(np.concatenate([hits, hits])), 0)
    assert found.value == pytest.approx(hits.mean(), abs=1e-12)
    assert found.first.tolist() == [0.5, 0.5]


def test_rows_that_differ_by_rounding_alone_share_the_picks() -> None:
    """A constant that stands with each image in one row, and beside them in the other."""
    (one,) = of_hits(simulated(np.random.default_rng(4), np.array([0.6])))
    other = Terms(one.terms - 0.1, one.offset + 0.1 * one.terms.shape[1], one.divisor)
    assert winner([one, other], 0).first.tolist() == [0.5, 0.5]


def test_one_row_without_seeds_stands_beside_others_with_three() -> None:
    hits = simulated(np.random.default_rng(5), np.array([0.6, 0.6]))
    rows = [*of_hits(hits[:1]), *of_hits(hits[1:, :1])]
    alike = winner([rows[0], of_hits(np.repeat(hits[1:, :1], 3, axis=1))[0]], 0, name="a")
    assert winner(rows, 0, name="a").value == alike.value


def test_with_one_seed_images_alone_are_left_out() -> None:
    rng = np.random.default_rng(6)
    rows = of_hits(rng.random((10, 1, 100)) < 0.5)
    best = highest(rows)
    found = winner(rows, best)
    assert found.value < rows[best].terms.mean() - 0.02
    assert 0 < found.first[best] < 1


@pytest.mark.parametrize("metric", ["mean_per_class", "macro_f1"])
def test_the_winner_by_a_metric_over_unequal_classes_is_corrected_too(metric: str) -> None:
    """All rows are alike, so that the truth is the mean of any of them over many studies."""
    rng, labels = np.random.default_rng(7), np.repeat([0, 1, 2], [60, 20, 10])
    plain, corrected, everyone = [], [], []
    for study in range(60):
        rows = [_row(metric, rng, labels) for _ in range(8)]
        values = [float(row.terms.sum(1).mean() + row.offset.mean()) for row in rows]
        best = int(np.argmax(values))
        everyone += values
        plain.append(values[best])
        corrected.append(winner(rows, best, labels, str(study), 60).value)
    truth, error = np.mean(everyone), np.std(corrected) / np.sqrt(60)
    assert np.mean(plain) - truth > 0.02
    assert abs(np.mean(corrected) - truth) < 0.003 + 2 * error


def _row(metric: str, rng: np.random.Generator, labels: np.ndarray) -> Terms:
    """A row of two seeds that is right for six images in ten of each class."""
    other = (labels + rng.integers(1, 3, (2, len(labels)))) % 3
    guesses = np.where(rng.random((2, len(labels))) < 0.6, labels, other)
    return terms.of(metric, Saved(labels, ["a", "b", "c"], {}, {"-": guesses}, {}), "-")


def test_what_is_left_out_of_a_resample_weighs_as_much_as_before_in_every_class() -> None:
    classes = np.array([0, 0, 0, 1, 1, 2])
    (drawn,) = weights(6, classes, "x", 100)
    outside = left_out(drawn, classes)
    for k, size in enumerate([3, 2, 1]):
        assert outside[:, classes == k].sum(1) == pytest.approx(np.full(100, size))
    assert ((drawn > 0) & (outside > 0)).any(0).tolist() == [False] * 5 + [True]  # the only one of its class is in both


def test_the_same_name_gives_the_same_value() -> None:
    rows = of_hits(simulated(np.random.default_rng(8), np.full(4, 0.5)))
    one, again, other = (winner(rows, 0, name=name, resamples=50) for name in ("a", "a", "b"))
    assert one.value == again.value
    assert one.value != other.value
