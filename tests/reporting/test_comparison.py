"""Paired comparisons from files of predictions: the matrix, the marks, the intervals, and metrics but accuracy."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.reporting.grid import plan
from workflow.lib.errors import UserError
from workflow.lib.evaluation import scoring
from workflow.lib.reporting import comparison, saved, summaries, terms
from workflow.lib.reporting.comparison import Place, Ring
from workflow.lib.reporting.saved import Saved
from workflow.lib.reporting.statistics import Difference, Terms, bootstrap

RNG = np.random.default_rng(3)
IMAGES = 400
BASE = RNG.random((3, IMAGES)) < 0.5
BETTER = BASE | (RNG.random((3, IMAGES)) < 0.2)
SAME = np.where(RNG.random((3, IMAGES)) < 0.05, ~BASE, BASE)


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class", "macro_f1", "auroc"])
def test_images_are_resampled_within_their_classes_where_the_metric_asks_for_every_class(metric: str) -> None:
    assert terms.within_classes(metric) is (metric != "accuracy")


def predictions(path: Path, hits: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(IMAGES, dtype=int)
    predicted = np.stack([np.where(hit, 0, 1) for hit in hits.values()])
    names = {"variants": np.array(list(hits)), "classnames": np.array(["yes", "no"]), "splits": np.array(["test"])}
    np.savez(path, labels=labels, predicted=predicted, images=np.array([[IMAGES, 0]]), **names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One dataset, one number of shots: the adapter is better than both probes, zero-shot like the first."""
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


def rings(folder: Path) -> dict[Place, Ring]:
    there = [key for key in PLAN.cells() if PLAN.path(folder, *key).exists()]
    return comparison.rings(PLAN, comparison.gather(PLAN, folder, "accuracy", there), "accuracy")


def test_the_matrix_counts_wins_ties_and_losses(folder: Path) -> None:
    scores = comparison.matrix(rings(folder), PLAN.rows())
    adapter, none, standard = ("adapter", "-"), ("probe", "scale=none"), ("probe", "scale=standard")
    assert str(scores[adapter, none]) == "1/0/0"
    assert str(scores[none, adapter]) == "0/0/1"
    assert str(scores[none, standard]) == str(scores[standard, none]) == "0/1/0"


def test_only_what_can_t_be_told_from_the_best_of_its_place_is_level_with_it(folder: Path) -> None:
    """Clearly beaten are all; then one row is the best's answers but for a few."""
    assert comparison.level_with_best(rings(folder)) == set()
    near = np.where(RNG.random((3, IMAGES)) < 0.02, ~BETTER, BETTER)
    path = folder / "predictions" / "digits" / "nano" / "probe" / "1.npz"
    predictions(path, {"scale=none": BASE, "scale=standard": near})
    assert comparison.level_with_best(rings(folder)) == {(("digits", "nano", "1"), ("probe", "scale=standard"))}
    predictions(path, {"scale=none": BASE, "scale=standard": BETTER})  # whichever name comes first
    predictions(folder / "predictions" / "digits" / "nano" / "adapter" / "1.npz", {"-": near & BETTER})
    assert comparison.level_with_best(rings(folder)) == {(("digits", "nano", "1"), ("adapter", "-"))}


def test_the_differences_of_a_table_are_tested_together_and_those_of_other_tables_apart() -> None:
    """Of two p-values 0.04 and 0.9 none is significant, of 0.04 alone it is: two places of one table, or of two."""
    best, other = ("probe", "-"), ("adapter", "-")

    def beaten(p: float) -> Ring:
        return Ring([best, other], np.array([0.9, 0.8]), [(0, 1)] * 2, {(0, 1): Difference(0.1, 0, 1, p)})

    alone = {("a", "nano", "1"): 0.04, ("c", "nano", "1"): 0.9, ("c", "tiny", "1"): 0.04, ("e", "nano", "1"): 0.04}
    places = {place: beaten(p) for place, p in alone.items()}
    assert comparison.level_with_best(places) == {(("c", "nano", "1"), other)}
    together = {("c", "tiny", "1"): beaten(0.04), ("c", "tiny", "5"): beaten(0.9)}
    assert comparison.level_with_best(together) == {(place, other) for place in together}


def test_the_table_of_intervals_holds_each_row_s_own(folder: Path) -> None:
    places = rings(folder)
    table = summaries.intervals_table(PLAN, {"accuracy": places}, "digits", "nano")
    shown = {label: cells for label, cells, _ in table.rows}
    low, high = places["digits", "nano", "1"].intervals[3]
    assert shown["adapter"] == [f"{100 * low:.2f} to {100 * high:.2f}"]
    assert low < BETTER.mean() < high
    assert list(shown) == ["zero_shot", "probe (scale=none)", "probe (scale=standard)", "adapter"]


def test_a_row_that_was_not_run_has_no_interval(folder: Path) -> None:
    (folder / "metrics" / "digits" / "nano" / "adapter" / "1.json").unlink()
    table = summaries.intervals_table(PLAN, {"accuracy": rings(folder)}, "digits", "nano")
    assert {label: cells for label, cells, _ in table.rows}["adapter"] == [None]


def test_predictions_that_can_t_be_read_are_named(folder: Path) -> None:
    path = folder / "predictions" / "digits" / "nano" / "adapter" / "1.npz"
    path.write_bytes(b"half a file")
    with pytest.raises(UserError, match=rf"{path}: no predictions can be read from it"):
        rings(folder)


def test_the_difference_of_two_rows_turns_its_sign_when_they_are_swapped(folder: Path) -> None:
    ring = rings(folder)["digits", "nano", "1"]
    one, other = (ring.difference(*pair) for pair in ((ring.rows[0], ring.rows[3]), (ring.rows[3], ring.rows[0])))
    assert one is not None
    assert other == -one
    assert ring.difference(ring.rows[0], ("absent", "-")) is None


def test_predictions_of_other_images_than_the_other_cells_are_named(folder: Path) -> None:
    path = folder / "predictions" / "digits" / "nano" / "adapter" / "1.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"labels": arrays["labels"][1:], "predicted": arrays["predicted"][:, :, 1:]})
    with pytest.raises(UserError, match=rf"{path}: its 399 images are not those of the study's other cells there, 400"):
        rings(folder)


def test_logits_that_were_not_saved_are_asked_for_in_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match=r"1\.npz: logits have shape \(\); finite numbers \(2, 3, 400, 2\) are wanted"):
        saved.read(folder / "predictions" / "digits" / "nano" / "probe" / "1.npz", logits=True)


@pytest.mark.parametrize("shape", [(2, 3, 400, 3), (2, 3, 401, 2), (2, 3, 399, 2)])
def test_logits_of_a_wrong_shape_are_named(folder: Path, shape: tuple[int, ...]) -> None:
    path = folder / "predictions" / "digits" / "nano" / "probe" / "1.npz"
    np.savez(path, **dict(np.load(path)), logits=np.zeros(shape, np.float32))
    with pytest.raises(UserError, match=re.escape(f"1.npz: logits have shape {shape}; finite numbers (2, 3, 400, 2)")):
        saved.read(path, logits=True)


# --- metrics as sums over images ---------------------------------------------------------------------------------

LABELS = np.repeat([0, 1, 2, 3], [60, 25, 120, 35])


def drawn(seed: int = 0, quality: float = 1.2) -> Saved:
    """Two seeds of one variant on four classes of unequal size."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, len(LABELS), 4)) + quality * np.eye(4)[LABELS]
    found = np.stack([scoring.log_softmax(one) for one in logits])
    return Saved(LABELS, ["a", "b", "c", "d"], {}, {"-": found.argmax(-1)}, {"-": found})


def value(metric: str, one: Saved, rows: np.ndarray) -> float:
    """The metric of some images, averaged over seeds."""
    answers = scoring.Answers(metric, one.logits["-"], LABELS)
    return float(np.mean([answers.score(seed, rows) for seed in (0, 1)]))


@pytest.mark.parametrize("metric", list(scoring.METRICS))
def test_terms_sum_up_to_the_metric(metric: str) -> None:
    one = drawn()
    (found,) = bootstrap([[terms.of(metric, one, "-")]], LABELS, resamples=10)
    assert found.observed[0] == pytest.approx(value(metric, one, np.arange(len(LABELS))))


@pytest.mark.parametrize("metric", ["mean_per_class", "macro_f1", "auroc"])
def test_the_spread_is_that_of_the_metric_computed_anew_on_resampled_images(metric: str) -> None:
    """Classes resampled whole, n of n: so by (n - 1) / n narrower, which the sizes here make up to 2 % of."""
    one, rng = drawn(), np.random.default_rng(1)
    members = [np.flatnonzero(k == LABELS) for k in range(4)]
    anew = [value(metric, one, np.concatenate([rng.choice(rows, len(rows)) for rows in members])) for _ in range(1500)]
    (found,) = bootstrap([[terms.of(metric, one, "-")]], LABELS)
    mine = found.draws[0].mean(0)
    assert mine.std() == pytest.approx(np.std(anew), rel=0.06)
    assert mine.mean() == pytest.approx(np.mean(anew), abs=0.2 * np.std(anew))


def test_a_class_that_is_rare_weighs_as_much_as_the_others_in_a_mean_per_class() -> None:
    one = drawn()
    found: Terms = terms.of("mean_per_class", one, "-")
    hit = one.hits("-")[0]
    assert found.terms[0][hit & (LABELS == 1)] == pytest.approx(1 / 25 / 4)
    assert found.terms[0][hit & (LABELS == 2)] == pytest.approx(1 / 120 / 4)
