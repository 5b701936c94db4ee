"""Paired comparisons: the bootstrap against a plain loop, and what the matrix and the marks make of it."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.reporting.grid import plan
from workflow.lib.errors import UserError
from workflow.lib.reporting import comparison, tables
from workflow.lib.reporting.statistics import Difference, bootstrap, pooled, significant

RNG = np.random.default_rng(3)
IMAGES = 400
BASE = RNG.random((3, IMAGES)) < 0.5
BETTER = BASE | (RNG.random((3, IMAGES)) < 0.2)
SAME = np.where(RNG.random((3, IMAGES)) < 0.05, ~BASE, BASE)


def test_the_observed_accuracies_and_difference_are_the_plain_ones() -> None:
    found = bootstrap([BASE, BETTER])
    np.testing.assert_allclose(found.observed, [BASE.mean(), BETTER.mean()])
    assert found.difference(1, 0).mean == pytest.approx(BETTER.mean() - BASE.mean())


def test_resamples_are_those_of_a_loop_that_draws_seeds_and_images() -> None:
    found = bootstrap([BASE, BETTER], resamples=4000)
    rng = np.random.default_rng(9)
    loop = []
    for _ in range(4000):
        seeds, images = rng.integers(3, size=3), rng.integers(IMAGES, size=IMAGES)
        loop.append(BETTER[seeds][:, images].mean() - BASE[seeds][:, images].mean())
    mine = found.samples[:, 1] - found.samples[:, 0]
    assert mine.mean() == pytest.approx(np.mean(loop), abs=0.003)
    assert mine.std() == pytest.approx(np.std(loop), rel=0.1)


def test_with_one_seed_the_interval_is_scipys_over_images() -> None:
    ours = bootstrap([BASE[:1]], resamples=4000).interval(0)
    theirs = stats.bootstrap((BASE[0],), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_a_clear_difference_is_significant_and_none_is_not() -> None:
    found = bootstrap([BASE, BETTER, SAME])
    assert significant([found.difference(1, 0), found.difference(2, 0)]) == [True, False]
    low, high = found.difference(1, 0).low, found.difference(1, 0).high
    assert 0 < low < found.difference(1, 0).mean < high


def test_swapping_the_two_turns_the_sign() -> None:
    found = bootstrap([BASE, BETTER])
    one, other = found.difference(0, 1), found.difference(1, 0)
    assert (one.mean, one.low, one.high) == pytest.approx((-other.mean, -other.high, -other.low))
    assert one.p == other.p


def test_it_is_the_same_every_time() -> None:
    assert bootstrap([BASE, BETTER]).difference(1, 0) == bootstrap([BASE, BETTER]).difference(1, 0)


def test_a_row_without_seeds_of_its_own_stands_for_all() -> None:
    alone = bootstrap([BASE, BETTER[:1]])
    spread = bootstrap([BASE, np.repeat(BETTER[:1], 3, 0)])
    np.testing.assert_allclose(alone.samples, spread.samples)


def test_rows_on_other_images_can_t_be_paired() -> None:
    with pytest.raises(ValueError, match="can't be paired"):
        bootstrap([BASE, BETTER[:, :-1]])


def test_many_true_nulls_are_rarely_called() -> None:
    tests = [Difference(0, 0, 0, p) for p in stats.uniform.rvs(size=200, random_state=1)]
    assert sum(significant(tests)) <= 2
    assert significant([]) == []


def test_pooling_narrows_the_interval() -> None:
    parts = [bootstrap([BASE, BETTER], seed=seed) for seed in range(4)]
    one, all_ = parts[0].difference(1, 0), pooled(parts, 1, 0)
    assert all_.mean == pytest.approx(one.mean)
    assert all_.high - all_.low < 0.7 * (one.high - one.low)


def predictions(path: Path, hits: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(IMAGES, dtype=int)
    predicted = np.stack([np.where(hit, 0, 1) for hit in hits.values()])
    np.savez(path, labels=labels, predicted=predicted, variants=np.array(list(hits)), seeds=np.arange(3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One data set, one number of shots: the adapter is better than both probes, zero-shot like the first."""
    cells = {
        ("probe", "1"): {"scale=none": BASE, "scale=standard": SAME},
        ("zero_shot", "0"): {"-": BASE[:1]},
        ("adapter", "1"): {"-": BETTER},
    }
    for (label, shots), hits in cells.items():
        predictions(tmp_path / "predictions" / "digits" / "nano" / label / f"{shots}.npz", hits)
        metrics = tmp_path / "metrics" / "digits" / "nano" / label / f"{shots}.json"
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text("{}")
    return tmp_path


PLAN = plan(datasets=["digits"], shots=["1"], seeds=3)


def test_the_matrix_counts_wins_ties_and_losses(folder: Path) -> None:
    scores = comparison.matrix(comparison.rings(PLAN, folder), PLAN.rows())
    adapter, none, standard = ("adapter", "-"), ("probe", "scale=none"), ("probe", "scale=standard")
    assert str(scores[adapter, none]) == "1/0/0"
    assert str(scores[none, adapter]) == "0/0/1"
    assert str(scores[none, standard]) == str(scores[standard, none]) == "0/1/0"


def test_what_is_level_with_the_best_is_not_what_it_clearly_beats(folder: Path) -> None:
    assert comparison.level_with_best(comparison.rings(PLAN, folder)) == set()


def test_the_table_of_intervals_holds_each_row_s_own(folder: Path) -> None:
    places = comparison.rings(PLAN, folder)
    table = tables.intervals_table(PLAN, places, "digits", "nano")
    shown = {label: cells for label, cells, _ in table.rows}
    low, high = places["digits", "nano", "1"].bootstrap.interval(3)
    assert shown["adapter"] == [f"{100 * low:.2f} to {100 * high:.2f}"]
    assert low < BETTER.mean() < high
    assert list(shown) == ["zero_shot", "probe (scale=none)", "probe (scale=standard)", "adapter"]


def test_a_row_that_was_not_run_has_no_interval(folder: Path) -> None:
    (folder / "metrics" / "digits" / "nano" / "adapter" / "1.json").unlink()
    table = tables.intervals_table(PLAN, comparison.rings(PLAN, folder), "digits", "nano")
    assert {label: cells for label, cells, _ in table.rows}["adapter"] == [None]


def test_predictions_that_can_t_be_read_are_named(folder: Path) -> None:
    path = folder / "predictions" / "digits" / "nano" / "adapter" / "1.npz"
    path.write_bytes(b"half a file")
    with pytest.raises(UserError, match=rf"{path}: no predictions can be read from it"):
        comparison.rings(PLAN, folder)
