"""Intervals and p-values: against enumeration, Student's t and a simulation with true seed effects."""

from itertools import product

import numpy as np
import pytest
from scipy import special, stats

from workflow.lib.reporting.statistics import Bootstrap, Difference, Spread, Terms, bootstrap, pooled, significant

RNG = np.random.default_rng(3)
IMAGES = 400
BASE = RNG.random((3, IMAGES)) < 0.5
BETTER = BASE | (RNG.random((3, IMAGES)) < 0.2)
SAME = np.where(RNG.random((3, IMAGES)) < 0.05, ~BASE, BASE)


def terms(hits: np.ndarray) -> Terms:
    """Accuracy's: whole hits, divided at the end."""
    return Terms(hits.astype(float), np.zeros(len(hits)), hits.shape[1])


def rows(*hits: np.ndarray, name: str = "", resamples: int = 10_000) -> Bootstrap:
    """Rows at one place, resampled."""
    (found,) = bootstrap([[terms(one) for one in hits]], name=name, resamples=resamples)
    return found


def test_the_observed_accuracies_and_difference_are_the_plain_ones() -> None:
    found = rows(BASE, BETTER)
    np.testing.assert_allclose(found.observed, [BASE.mean(), BETTER.mean()])
    assert found.difference(1, 0).mean == pytest.approx(BETTER.mean() - BASE.mean())


def test_draws_are_those_of_a_loop_that_draws_images() -> None:
    found = rows(BASE, BETTER)
    rng = np.random.default_rng(9)
    loop = [(BETTER[:, images] * 1.0 - BASE[:, images]).mean() for images in rng.integers(IMAGES, size=(4000, IMAGES))]
    mine = found.between(1, 0)[1].sum(0) / (3 * IMAGES)
    assert mine.mean() == pytest.approx(np.mean(loop), abs=0.001)
    assert mine.std() == pytest.approx(np.std(loop), rel=0.05)


def test_with_one_seed_the_interval_is_scipys_over_images() -> None:
    ours = rows(BASE[:1]).interval(0)
    theirs = stats.bootstrap((BASE[0],), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.003)


@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_counts_ties_at_zero_exactly(seed: int) -> None:
    """Against every resample of six images: a difference of nothing is on both sides, whatever the digits."""
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 3, 6)) < 0.6
    b = np.roll(a, 1, axis=1) if seed == 0 else b
    a, b = (np.repeat(one[:1], 3, 0) for one in (a, b))  # no seed effect: only images count
    gain = (a[0] * 1 - b[0])[np.array(list(product(range(6), repeat=6)))].sum(1)
    exact = min(1.0, 2 * min((gain <= 0).mean(), (gain >= 0).mean()))
    assert rows(a, b).difference(0, 1).p == pytest.approx(exact, abs=0.03)


def test_equal_hits_are_a_difference_of_exactly_nothing() -> None:
    """In fractions 0.1 + 0.2 is not 0.3; whole hits are divided once, at the end."""
    a, b = np.zeros((2, 3, 10), bool)
    a[0, :1], a[1, :2], b[2, :3] = True, True, True
    assert rows(a, b).difference(0, 1).mean == 0.0
    assert len(set(rows(a, b).observed.tolist())) == 1


def test_without_images_to_draw_the_interval_is_students() -> None:
    values = np.array([0.05, 0.11, 0.02])
    (found,) = bootstrap([[Terms(np.zeros((3, 5)), values), Terms(np.zeros((3, 5)), np.zeros(3))]], resamples=200_000)
    one = found.difference(0, 1)
    theirs = stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval(0.95)
    assert (one.low, one.high) == pytest.approx((interval.low, interval.high), abs=0.002)
    assert one.p == pytest.approx(theirs.pvalue, rel=0.03)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("effect", [0.3, 0.8])
def test_intervals_reach_their_level_where_seeds_have_true_effects(seeds: int, effect: float) -> None:
    """Images of unequal difficulty, seeds of unequal luck: 95 % intervals hold the truth in at least 93 of 100 studies.

    A bootstrap of seeds and images reaches 86 and 87.
    """
    studies, images, difficulty, rng = 400, 200, 1.5, np.random.default_rng(seeds)
    mean = {a: _expected(a, effect, difficulty) for a in (1.0, 0.6)}
    covered = alone = 0
    for study in range(studies):
        hard = rng.normal(size=(1, images)) * difficulty
        hits = [
            rng.random((seeds, images)) < special.expit(a + rng.normal(size=(seeds, 1)) * effect + hard) for a in mean
        ]
        found = rows(*hits, name=str(study), resamples=500)
        one, (low, high) = found.difference(0, 1), found.interval(0)
        covered += one.low <= mean[1.0] - mean[0.6] <= one.high
        alone += low <= mean[1.0] <= high
    assert covered >= 0.93 * studies
    assert alone >= 0.93 * studies


def _expected(level: float, effect: float, difficulty: float) -> float:
    """The accuracy over all seeds and images: the mean of a logistic of a normal value, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    return float((weights * special.expit(level + nodes * np.hypot(effect, difficulty))).sum() / weights.sum())


@pytest.mark.parametrize("own", [0.0, 0.1, 0.3])
def test_what_images_do_to_the_spread_between_seeds_is_not_counted_twice(own: float) -> None:
    """Three seeds, and four resamples in which each has a deviation of its own, `own` large; the deviations that all
    share say nothing of seeds. With s² = 0.09 and χ² = 2 the variance of a seed is 2 * 0.09 / 2 - own². What is drawn
    of A against B is turned for B against A.
    """
    patterns = np.array([[1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    shared = np.array([5, -1, 2, 0])
    spread = Spread(np.ones(4), np.full(4, 2.0))
    seeds, draws = np.array([0.0, 0.3, 0.6]), shared + own * patterns
    found = spread.draw(seeds, draws)
    assert np.abs(found) == pytest.approx(np.full(4, np.sqrt((0.09 - own**2) / 3)), abs=1e-9)
    np.testing.assert_array_equal(spread.draw(-seeds, -draws), -found)


def test_a_clear_difference_is_significant_and_none_is_not() -> None:
    found = rows(BASE, BETTER, SAME)
    assert significant([found.difference(1, 0), found.difference(2, 0)]) == [True, False]
    low, high = found.difference(1, 0).low, found.difference(1, 0).high
    assert 0 < low < found.difference(1, 0).mean < high


def test_it_is_the_same_every_time() -> None:
    assert rows(BASE, BETTER).difference(1, 0) == rows(BASE, BETTER).difference(1, 0)


def test_a_row_without_seeds_of_its_own_stands_for_all() -> None:
    alone, spread = rows(BASE, BETTER[:1]), rows(BASE, np.repeat(BETTER[:1], 3, 0))
    np.testing.assert_array_equal(alone.draws, spread.draws)


def test_rows_on_other_images_or_seeds_can_t_be_paired() -> None:
    for other in (BETTER[:, :-1], BETTER[:2]):
        with pytest.raises(ValueError, match="can't be paired"):
            rows(BASE, other)


def test_many_true_nulls_are_rarely_called() -> None:
    tests = [Difference(0, 0, 0, p) for p in stats.uniform.rvs(size=200, random_state=1)]
    assert sum(significant(tests)) <= 2
    assert significant([]) == []


# --- classes -----------------------------------------------------------------------------------------------------


def test_within_classes_the_spread_is_that_of_samples_of_their_sizes() -> None:
    """The variance of a mean of n is s² / n with n - 1 in s², even for the two images of a class."""
    labels = np.array([1, 0, 0, 1, 0, 0, 0])
    hits = np.array([[1, 1, 0, 0, 0, 1, 1]], float)
    weights = 1 / np.bincount(labels)[labels] / 2
    (found,) = bootstrap([[Terms(hits * weights, np.zeros(1))]], labels, resamples=100_000)
    of_class = [hits[0, labels == k] for k in (0, 1)]
    expected = sum(one.var(ddof=1) / len(one) for one in of_class) / 4
    assert found.draws[0, 0].var() == pytest.approx(expected, rel=0.03)
    assert found.draws[0, 0].mean() == pytest.approx(float(found.observed[0]), abs=0.005)


def test_within_classes_every_class_keeps_its_size_and_the_only_image_of_one_is_kept() -> None:
    labels = np.array([2, 0, 1, 0, 2, 2])
    members = np.stack([labels == k for k in range(3)]).astype(float)
    (found,) = bootstrap([[Terms(row[None], np.zeros(1)) for row in members]], labels, resamples=500)
    np.testing.assert_allclose(found.draws[:, 0], np.repeat([[2.0], [1.0], [3.0]], 500, 1))


# --- several places ----------------------------------------------------------------------------------------------


def test_the_places_of_a_dataset_share_images_and_seeds_so_that_saying_it_twice_says_no_more() -> None:
    one = rows(BASE, BETTER, name="digits")
    twice = pooled([("digits", one, 1, 0), ("digits", rows(BASE, BETTER, name="digits"), 1, 0)])
    assert (twice.low, twice.high) == pytest.approx((one.difference(1, 0).low, one.difference(1, 0).high))


def test_datasets_are_drawn_independently_of_each_other_and_narrow_the_interval() -> None:
    parts = [(name, rows(BASE, BETTER, name=name), 1, 0) for name in ("a", "b", "c", "d")]
    one, all_ = parts[0][1].difference(1, 0), pooled(parts)
    assert all_.mean == pytest.approx(one.mean)
    assert all_.high - all_.low < 0.7 * (one.high - one.low)


def test_places_resampled_together_are_as_each_alone() -> None:
    first, second = bootstrap([[terms(BASE), terms(BETTER)], [terms(SAME[:1])]], name="digits")
    np.testing.assert_array_equal(first.draws, rows(BASE, BETTER, name="digits").draws)
    np.testing.assert_array_equal(second.draws, rows(SAME[:1], name="digits").draws)
