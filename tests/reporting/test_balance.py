"""Classes of unequal size: two metrics side by side, the majority's line, and what is said of rows and splits."""

from typing import Any

import numpy as np
import pytest

from tests.reporting import grid
from workflow.lib.evaluation import scoring
from workflow.lib.reporting import balance, comparison, figures, rendering, summaries, tables
from workflow.lib.reporting.comparison import Predictions
from workflow.lib.reporting.results import Results, exact_mean, mean_ranks
from workflow.lib.reporting.saved import Saved

NAMES = ["fine", "crack", "stain"]
UNEQUAL = np.repeat([0, 1, 2], [54, 26, 20])
EQUAL = np.repeat([0, 1, 2], [33, 33, 34])
METHODS = [{"label": label, "variants": ["-"], "learns": True} for label in ("lazy", "keen", "usual")]


def said(labels: np.ndarray, label: str) -> np.ndarray:
    """What a method says of each image: `lazy` always the first class; `keen` finds all but the first's second half."""
    keen = np.where((labels == 0) & (np.arange(len(labels)) >= 20), 1, labels)
    return {"lazy": np.zeros_like(labels), "keen": keen, "usual": np.where(labels == 2, 0, labels)}[label]


def saved(labels: np.ndarray, label: str, train: tuple[int, ...]) -> Saved:
    images = {"train": np.array(train), "test": np.bincount(labels)}
    return Saved(labels, NAMES, images, {"-": np.stack([said(labels, label)] * 2)}, {})


def study(
    labels: np.ndarray = UNEQUAL, train: tuple[int, ...] = (54, 26, 20), **changes: Any
) -> tuple[Results, Predictions]:
    """One dataset, one number of shots, two seeds that agree."""
    plan = grid.plan(datasets=["photos"], shots=["1"], methods=METHODS, **changes)
    results, predictions = Results(plan), {}
    for label in ("lazy", "keen", "usual"):
        place = ("photos", "nano", label, "1")
        predictions[place] = saved(labels, label, train)
        record = grid.record({"-": [0.5, 0.5]}, place)
        logits = np.eye(3, dtype=np.float32)[said(labels, label)]
        for seed in record["variants"][0]["seeds"]:
            seed["metrics"] |= scoring.metrics(logits, labels)
        results.records[place] = record
    return results, predictions


def dataset(results: Results, predictions: Predictions) -> tables.Table:
    return tables.dataset_table(results, "photos", "nano", None, predictions)


def shown(table: tables.Table) -> dict[str, list[str]]:
    return {name: [str(cell) for cell in cells] for name, cells, _ in table.rows}


def test_unequal_classes_show_accuracy_and_mean_per_class_side_by_side_and_the_majority() -> None:
    table = dataset(*study())
    assert table.columns == ["1 shot, accuracy", "1 shot, per class"]
    assert shown(table) == {
        "lazy": ["54.00 ± 0.00", "33.33 ± 0.00"],
        "keen": ["66.00 ± 0.00", "79.01 ± 0.00"],  # (20 / 54 + 1 + 1) / 3
        "usual": ["80.00 ± 0.00", "66.67 ± 0.00"],
        "majority": ["54.00", "33.33"],
    }
    assert table.rows[-1][2] == ["always says the largest class of the reported split, 'fine'"]
    assert "its average over classes (per class), whose sizes differ" in table.caption[0]


def test_equal_classes_show_accuracy_alone() -> None:
    assert dataset(*study(EQUAL)).columns == ["1 shot"]
    at_the_limit, beyond = np.repeat([0, 1], [30, 20]), np.repeat([0, 1], [31, 20])
    for labels, unbalanced in ((at_the_limit, False), (beyond, True)):
        assert Saved(labels, NAMES, {}, {}, {}).unbalanced == unbalanced


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class", "macro_f1"])
def test_a_metric_that_is_given_is_shown_alone_and_governs(metric: str) -> None:
    results, predictions = study(metric=metric)
    table = dataset(results, predictions)
    assert table.columns == ["1 shot"]
    of = {label: scoring.metrics(np.eye(3)[said(UNEQUAL, label)], UNEQUAL)[metric] for label in ("lazy", "keen")}
    assert shown(table)["keen"] == [f"{100 * of['keen']:.2f} ± 0.00"]
    assert shown(table)["majority"] == [f"{100 * of['lazy']:.2f}"]  # `lazy` is the majority
    assert table.caption[0].startswith(f"{scoring.METRICS[metric]} in percent on test")
    best = {"accuracy": "usual"}.get(metric, "keen")
    ranks = mean_ranks(results)
    assert min(ranks, key=ranks.__getitem__) == (best, "-")
    rings = comparison.rings(results.plan, predictions, metric)
    ring = rings["photos", "nano", "1"]
    assert ring.rows[int(ring.observed.argmax())] == (best, "-")
    (axes,) = figures.accuracy_figure(results, "photos", "nano").axes
    assert {line.get_label(): line.get_ydata()[0] for line in axes.lines}["keen"] == pytest.approx(100 * of["keen"])
    assert axes.get_ylabel() == f"{figures.AXIS[metric]} on test, %"


def test_where_every_row_is_better_the_majority_is_left_out() -> None:
    results, predictions = study()
    results.records = {key: record for key, record in results.records.items() if key[2] != "lazy"}
    assert "majority" not in shown(dataset(results, predictions))


def test_a_row_that_says_one_class_of_nearly_every_image_has_a_footnote() -> None:
    remarks = {name: notes for name, _, notes in dataset(*study()).rows}
    assert remarks["lazy"] == ["says 'fine' of over 99 % of the images"]
    assert remarks["keen"] == []
    one = Saved(np.zeros(5, int), ["only"], {}, {"-": np.zeros((1, 5), int)}, {})
    assert one.monotonous("-") == ""  # there is no other class to say


def test_shares_of_classes_that_differ_between_splits_are_noted() -> None:
    line = (
        "Shares of classes differ between train and test, most of all that of 'fine': 33.3 % of train, 54.0 % of test."
    )
    assert dataset(*study(train=(200, 200, 200))).caption[-1] == line
    for alike in ((54, 26, 20), (540, 270, 190), (3, 1, 1)):  # as many, nearly as many, and too few to say
        assert not any("Shares" in line for line in dataset(*study(train=alike)).caption)


@pytest.mark.parametrize(("moved", "noted"), [(400, False), (600, True), (-400, False), (-600, True)])
def test_of_many_images_a_difference_of_a_few_per_cent_is_no_chance_and_not_worth_a_note(
    moved: int, noted: bool
) -> None:
    """Of 10 000 images in each split so many are of another class."""
    table = dataset(*study(np.repeat(UNEQUAL, 100), train=(5400 + moved, 2600 - moved, 2000)))
    assert any("Shares of classes differ" in line for line in table.caption) is noted


def test_the_summary_says_where_the_order_differs() -> None:
    table = summaries.summary_table(*study())
    assert table.columns == [
        "1 shot, accuracy",
        "1 shot, per class",
        "mean, accuracy",
        "mean, per class",
        "mean rank, accuracy",
        "mean rank, per class",
    ]
    assert shown(table)["keen"] == ["66.00", "79.01", "66.00", "79.01", "2.00", "1.00"]
    assert shown(table)["majority"] == ["54.00", "33.33", "54.00", "33.33", "", ""]
    assert table.caption[-1] == (
        "photos, nano: another order by accuracy than per class: 1 shot, 1 of 3 pairs of rows, first usual by accuracy "
        "and keen per class."
    )
    marks = {place: mark for place, mark in rendering.marks(table).items() if mark == "best"}
    assert marks[1, 5] == "best"  # of ranks the lowest


def test_pairs_of_rows_are_in_another_order_where_one_is_before_the_other_by_one_metric_alone() -> None:
    results, predictions = study()
    values = {"lazy": (0.6, 0.3), "keen": (0.7, 0.5), "usual": (0.8, 0.4)}
    for (*_, label, _), record in results.records.items():
        for seed in record["variants"][0]["seeds"]:
            seed["metrics"] |= dict(zip(("accuracy", "mean_per_class"), values[label], strict=True))
    said = summaries.summary_table(results, predictions).caption[-1]
    assert said.endswith("1 shot, 1 of 3 pairs of rows, first usual by accuracy and keen per class.")


def test_regimes_are_shown_by_both_metrics_and_the_matrix_says_that_it_is_by_accuracy() -> None:
    results, predictions = study()
    table = tables.regimes_table(results, "photos", "nano", ["accuracy", "mean_per_class"])
    assert table.columns == ["1 shot, accuracy, last", "1 shot, per class, last"]
    assert shown(table)["keen"] == ["66.00 ± 0.00", "79.01 ± 0.00"]
    matrix = summaries.comparison_table(results, {}, predictions)
    assert matrix.caption[-1] == (
        "Classes of unequal size in photos, nano: metric: mean_per_class in the study file weighs them alike."
    )
    equal = summaries.comparison_table(*(study(EQUAL)[0], {}, study(EQUAL)[1]))
    assert not any("unequal" in line for line in equal.caption)


def test_the_recall_of_every_class_of_every_row_is_a_table() -> None:
    results, predictions = study()
    table = summaries.per_class_table(results.plan, predictions, "photos", "nano")
    assert table.columns == ["class", "images", "1 shot"]
    assert [(name, *cells) for name, cells, _ in table.rows if name == "keen"] == [
        ("keen", "fine", "54", "37.04"),
        ("keen", "crack", "26", "100.00"),
        ("keen", "stain", "20", "100.00"),
    ]
    assert len(table.rows) == 9


def test_equal_hits_have_equal_ranks_in_whatever_order_the_seeds_had_them() -> None:
    assert np.mean([0.1, 0.2, 0.3]) != np.mean([0.3, 0.2, 0.1])
    assert exact_mean([0.1, 0.2, 0.3]) == exact_mean([0.3, 0.2, 0.1])
    assert exact_mean([0.1, 0.2, 0.3]) != exact_mean([0.1, 0.2, 0.300001])
    cells = {("digits", "nano", "probe", "1"): {"scale=none": [0.1, 0.2, 0.3], "scale=standard": [0.3, 0.2, 0.1]}}
    methods = [{"label": "probe", "variants": ["scale=none", "scale=standard"], "learns": True}]
    ranks = mean_ranks(grid.results(cells, datasets=["digits"], shots=["1"], methods=methods))
    assert set(ranks.values()) == {1.5}


def test_a_split_without_predictions_has_nothing_to_be_said_of() -> None:
    results, _ = study()
    assert balance.majority({}, ("photos", "nano"), "accuracy") is None
    assert balance.shown(results.plan, {}, [("photos", "nano")]) == ["accuracy"]
    assert balance.shifts(results.plan, {}, ("photos", "nano")) == []
