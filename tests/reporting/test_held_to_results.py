"""The tables of a study that was computed: their numbers are what plain arithmetic makes of results.csv."""

import csv
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from scipy import stats

from tests.reporting.computed import PLAN

SHOTS, DATASETS = PLAN.shots, PLAN.datasets
ROWS = ["zero_shot", "stages", "means"]
REGIMES = ["last", "val_full", "report"]


@cache
def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(folder: Path, name: str, first: str = "method") -> dict[str, dict[str, str]]:
    """A table by the first cell of its lines."""
    return {line[first]: line for line in lines(folder / "tables" / f"{name}.csv")}


def heading(shots: str) -> str:
    return "1 shot" if shots == "1" else f"{shots} shots"


def values(folder: Path, metric: str, dataset: str, method: str, shots: str) -> list[float]:
    """Of every seed, in results.csv; what learns nothing has no shots."""
    place = (dataset, "tiny", method, "0" if method == "zero_shot" else shots, metric)
    return [
        float(line["value"])
        for line in lines(folder / "tables" / "results.csv")
        if tuple(line[key] for key in ("dataset", "backbone", "method", "shots", "metric")) == place
    ]


def under(regime: str, metric: str = "accuracy") -> str:
    """What results.csv calls a metric under a regime."""
    return metric if regime == PLAN.select else f"{metric}@{regime}"


def points(gaps: Sequence[float]) -> str:
    return f"{100 * fmean(gaps):+.2f}"


def gaps(folder: Path, dataset: str, method: str, shots: str) -> list[float]:
    """The best of a curve less its end, of every seed."""
    ends = (values(folder, f"accuracy_{end}", dataset, method, shots) for end in ("peek", "last"))
    return [best - last for best, last in zip(*ends, strict=True)]


def test_the_study_has_something_to_tell(computed: Path) -> None:
    """Regimes that choose differently, seeds that differ: else the tests below would say less than they do."""
    for dataset, shots in product(DATASETS, SHOTS):
        last, best = (fmean(values(computed, under(regime), dataset, "stages", shots)) for regime in ("last", "report"))
        assert best > last + 0.05
        assert stdev(values(computed, "accuracy", dataset, "means", shots)) > 0


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_dataset_s_table_has_means_deviations_and_the_peeking_gap(computed: Path, dataset: str) -> None:
    table = rows(computed, f"{dataset}.tiny")
    assert list(table) == [*ROWS, "majority"]
    assert [table["majority"][heading(shots)] for shots in SHOTS] == ["25.00", "25.00"]
    for method, shots in product(ROWS, SHOTS):
        own = [100 * value for value in values(computed, "accuracy", dataset, method, shots)]
        assert len(own) == (1 if method == "zero_shot" else 3)
        assert table[method][heading(shots)] == f"{fmean(own):.2f}"
        assert table[method][f"{heading(shots)} sd"] == (f"{stdev(own):.2f}" if len(own) > 1 else "")
    every = [gap for shots in SHOTS for gap in gaps(computed, dataset, "stages", shots)]
    assert [table[method]["peeking gap"] for method in ROWS] == ["n/a", points(every), "n/a"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_table_of_regimes_has_the_numbers_of_each(computed: Path, dataset: str) -> None:
    table = rows(computed, f"{dataset}.tiny.regimes")
    for method, shots, regime in product(ROWS, SHOTS, REGIMES):
        own = [100 * value for value in values(computed, under(regime), dataset, method, shots)]
        column = f"{heading(shots)}, {regime}"
        assert table[method][column] == f"{fmean(own):.2f}"
        assert table[method][f"{column} sd"] == (f"{stdev(own):.2f}" if len(own) > 1 else "")


def test_what_choosing_adds_is_a_regime_s_mean_less_that_of_last(computed: Path) -> None:
    table = rows(computed, "gains")
    assert list(table) == ["stages", "mean of all rows"]
    for shots, regime in product(SHOTS, REGIMES[1:]):
        added = [
            fmean(values(computed, under(regime), dataset, "stages", shots))
            - fmean(values(computed, "accuracy", dataset, "stages", shots))
            for dataset in DATASETS
        ]
        for row in table.values():
            assert row[f"{heading(shots)}, {regime}"] == points(added)


def test_the_table_of_peeking_is_the_best_of_the_curves_less_their_ends(computed: Path) -> None:
    table = rows(computed, "peeking")
    assert list(table) == ["stages"]
    found = {shots: [gap for d in DATASETS for gap in gaps(computed, d, "stages", shots)] for shots in SHOTS}
    for shots, of_shots in found.items():
        assert table["stages"][heading(shots)] == points(of_shots)
    assert table["stages"]["mean"] == points([gap for of_shots in found.values() for gap in of_shots])


def test_the_summary_averages_datasets_and_ranks_rows_in_each(computed: Path) -> None:
    table = rows(computed, "summary")
    means = {
        place: {row: round(fmean(values(computed, "accuracy", place[0], row, place[1])), 9) for row in ROWS}
        for place in product(DATASETS, SHOTS)
    }
    for row in ROWS:
        by_shots = [fmean(means[dataset, shots][row] for dataset in DATASETS) for shots in SHOTS]
        for shots, mean in zip(SHOTS, by_shots, strict=True):
            assert table[row][heading(shots)] == f"{100 * mean:.2f}"
        assert table[row]["mean"] == f"{100 * fmean(by_shots):.2f}"
        ranks = [
            1 + sum(other > of[row] for other in of.values()) + (sum(other == of[row] for other in of.values()) - 1) / 2
            for of in means.values()
        ]
        assert table[row]["mean rank"] == f"{fmean(ranks):.2f}"


def hits(folder: Path, dataset: str, method: str, shots: str) -> np.ndarray:
    """Whether each image is right with each seed `(S, M)`."""
    name = "0" if method == "zero_shot" else shots
    with np.load(folder / "predictions" / dataset / "tiny" / method / f"{name}.npz") as saved:
        return np.asarray(saved["predicted"][0] == saved["labels"])


def test_wins_and_losses_are_those_of_the_places_where_a_row_is_better(computed: Path) -> None:
    """Of every pair as many as there are places; a win is where the mean is higher, and a clear lead is a win."""
    table = rows(computed, "comparison")
    assert list(table) == [f"{i} {row}" for i, row in enumerate(ROWS, 1)]
    for (i, a), (j, b) in product(enumerate(ROWS, 1), repeat=2):
        if a == b:
            assert table[f"{i} {a}"][str(j)] == ""
            continue
        wins, ties, losses = map(int, table[f"{i} {a}"][str(j)].split("/"))
        assert table[f"{j} {b}"][str(i)] == f"{losses}/{ties}/{wins}"
        leads = [
            fmean(values(computed, "accuracy", dataset, a, shots))
            - fmean(values(computed, "accuracy", dataset, b, shots))
            for dataset, shots in product(DATASETS, SHOTS)
        ]
        assert wins + ties + losses == len(leads)
        assert sum(lead > 0.5 for lead in leads) <= wins <= sum(lead > 0 for lead in leads)
        assert sum(lead < -0.5 for lead in leads) <= losses <= sum(lead < 0 for lead in leads)


@pytest.mark.parametrize("dataset", DATASETS)
def test_intervals_hold_the_mean_and_without_seeds_are_scipys_over_images(computed: Path, dataset: str) -> None:
    table = rows(computed, f"{dataset}.tiny.intervals")
    for method, shots in product(ROWS, SHOTS):
        low, high = map(float, table[method][heading(shots)].split(" to "))
        mean = 100 * fmean(values(computed, "accuracy", dataset, method, shots))
        assert low <= mean <= high
        if method == "zero_shot":
            right = hits(computed, dataset, method, shots)[0]
            theirs = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=5000, rng=1)
            interval = theirs.confidence_interval
            assert (low, high) == pytest.approx((100 * interval.low, 100 * interval.high), abs=3)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_recall_of_a_class_is_its_share_of_right_answers_over_all_seeds(computed: Path, dataset: str) -> None:
    found = lines(computed / "tables" / f"{dataset}.tiny.per_class.csv")
    with np.load(computed / "predictions" / dataset / "tiny" / "means" / "1.npz") as saved:
        labels, names = saved["labels"], saved["classnames"].tolist()
    assert [(line["method"], line["class"]) for line in found] == list(product(ROWS, names))
    for line, shots in product(found, SHOTS):
        own = labels == names.index(line["class"])
        assert line["images"] == str(own.sum())
        right = hits(computed, dataset, line["method"], shots)[:, own]
        assert line[heading(shots)] == f"{100 * right.sum() / right.size:.2f}"


# Heading, metric, percent, digits.
CALIBRATION = [
    ("NLL", "nll", 1, 3),
    ("NLL calibrated", "nll_calibrated", 1, 3),
    ("ECE", "ece", 100, 2),
    ("ECE calibrated", "ece_calibrated", 100, 2),
    ("Brier", "brier", 1, 3),
    ("Brier calibrated", "brier_calibrated", 1, 3),
    ("temperature", "temperature", 1, 3),
    ("coverage", "coverage", 100, 2),
    ("set size", "set_size", 1, 3),
    ("coverage, by class", "coverage_mondrian", 100, 2),
    ("set size, by class", "set_size_mondrian", 1, 3),
    ("answered", "answered", 100, 2),
    ("error of these", "answered_error", 100, 2),
    ("AURC", "aurc", 100, 2),
]


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_table_of_calibration_has_each_metric_under_its_own_heading(computed: Path, dataset: str) -> None:
    found = lines(computed / "tables" / f"{dataset}.tiny.calibration.csv")
    assert [(line["method"], line["shots"]) for line in found] == [
        ("zero_shot", "0 shots"),
        *product(ROWS[1:], map(heading, SHOTS)),
    ]
    for line, (column, metric, scale, digits) in product(found, CALIBRATION):
        own = [scale * x for x in values(computed, metric, dataset, line["method"], line["shots"].split()[0])]
        spread = f" ± {stdev(own):.{digits}f}" if len(own) > 1 else ""
        assert line[column] == (f"{fmean(own):.{digits}f}{spread}" if own else "n/a"), column


def test_the_recommendation_is_the_best_row_with_its_mean_and_zero_shot_s(computed: Path) -> None:
    found = lines(computed / "tables" / "recommendation.csv")
    assert [(line["dataset"], line["shots"]) for line in found] == list(product(DATASETS, SHOTS))
    for line in found:
        means = {row: fmean(values(computed, "accuracy", line["dataset"], row, line["shots"])) for row in ROWS}
        assert line["method"] in (max(means, key=lambda row: means[row]), "zero_shot")
        assert float(line["uncorrected"]) == pytest.approx(means[line["method"]], abs=1e-5)
        assert float(line["zero_shot"]) == pytest.approx(means["zero_shot"], abs=1e-5)
        assert float(line["majority"]) == 0.25
        assert float(line["low"]) < float(line["value"]) <= float(line["uncorrected"]) < 1
        assert line["method"] not in line["level_with"].split()
