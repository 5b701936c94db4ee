"""The page of a study that was computed: its data are what results.csv and the saved answers say."""

import base64
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest

from tests.reporting.computed import PLAN
from workflow.lib import files
from workflow.lib.page.content import content
from workflow.scripts import report

ROWS = ["zero_shot", "stages", "means"]
Saved = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def data(computed: Path) -> dict[str, Any]:
    return content([report.source(computed, PLAN)])


@pytest.fixture(scope="module")
def lines(computed: Path) -> list[dict[str, str]]:
    with (computed / "tables" / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def place(data: dict[str, Any], one: dict[str, Any]) -> tuple[str, str, str]:
    """Dataset, method and shots of something on the page; what learns nothing has no shots."""
    shots = "0" if one["s"] < 0 else data["shots"][one["s"]]
    return data["places"][one["p"]]["dataset"], data["rows"][one["r"]]["name"], shots


def cells(data: dict[str, Any], kind: str, folder: Path) -> Iterator[tuple[dict[str, Any], Saved]]:
    """Each of a kind with the saved answers that it is about; there are as many as cells."""
    assert len(data[kind]) == len(PLAN.cells())
    for one in data[kind]:
        dataset, method, shots = place(data, one)
        with np.load(folder / "predictions" / dataset / "tiny" / method / f"{shots}.npz") as saved:
            yield one, dict(saved)


def test_the_order_of_places_shots_and_rows_is_the_study_s(data: dict[str, Any]) -> None:
    assert [(one["dataset"], one["backbone"]) for one in data["places"]] == PLAN.pairs()
    assert [row["name"] for row in data["rows"]] == ROWS
    assert [row["learns"] for row in data["rows"]] == [False, True, True]
    assert data["shots"] == ["1", "5"]


def test_every_row_has_its_means_deviations_and_seeds_under_every_regime(
    data: dict[str, Any], lines: list[dict[str, str]]
) -> None:
    assert len(data["entries"]) == len(PLAN.cells())
    for entry in data["entries"]:
        own = [line for line in lines if (line["dataset"], line["method"], line["shots"]) == place(data, entry)]
        for regime in ("last", "val_full", "report"):
            for i, metric in enumerate(data["metrics"]):
                name = metric["name"] if regime == "last" else f"{metric['name']}@{regime}"
                scale = 100 if metric["percent"] else 1
                found = [scale * float(line["value"]) for line in own if line["metric"] == name]
                if name.startswith("fit_seconds") or len(found) < len(entry["seeds"]):
                    continue
                mean, sd = entry["stats"][regime][i]
                assert mean == pytest.approx(fmean(found), rel=1e-3, abs=0.0051)
                assert sd == (pytest.approx(stdev(found), rel=1e-3, abs=0.0051) if len(found) > 1 else None)
                if regime == "last":
                    assert [seed["m"][i] for seed in entry["seeds"]] == pytest.approx(found, rel=1e-3, abs=0.0051)


def test_curves_points_and_gaps_are_those_of_the_records(data: dict[str, Any], computed: Path) -> None:
    curves = 0
    for entry in data["entries"]:
        dataset, method, shots = place(data, entry)
        record = files.read_json(computed / "metrics" / dataset / "tiny" / method / f"{shots}.json")
        seeds = record["variants"][0]["seeds"]
        assert [one["point"] for one in entry["seeds"]] == [seed["point"] for seed in seeds]
        if method != "stages":
            assert "gap" not in entry
            continue
        gaps = [100 * (max(seed["curve"]) - seed["curve"][-1]) for seed in seeds]
        assert entry["gap"] == pytest.approx(fmean(gaps), abs=0.0051)
        for one, seed in zip(entry["seeds"], seeds, strict=True):
            assert one["curve"] == pytest.approx([100 * value for value in seed["curve"]], abs=0.0051)
            assert one["at"] == [1, 2, 3]
            curves += 1
    assert curves == 2 * 2 * 3


def test_answers_are_how_many_seeds_are_right_and_what_most_of_them_say(data: dict[str, Any], computed: Path) -> None:
    for one, saved in cells(data, "answers", computed):
        guesses, labels = saved["predicted"][0], saved["labels"]
        assert one["right"] == "".join(str(count) for count in (guesses == labels).sum(0))
        votes = [Counter(column.tolist()) for column in guesses.T]
        said = list(base64.b64decode(one["said"]))
        assert all(of[k] == max(of.values()) for of, k in zip(votes, said, strict=True))


def test_recalls_are_in_thousandths_and_confusions_the_most_frequent(data: dict[str, Any], computed: Path) -> None:
    for one, saved in cells(data, "recalls", computed):
        guesses, labels = saved["predicted"][0], saved["labels"]
        right = [(guesses[:, labels == k] == k).mean() for k in range(4)]
        assert one["recall"] == pytest.approx([1000 * share for share in right], abs=0.51)
        wrong = Counter((t, s) for row in guesses.tolist() for t, s in zip(labels.tolist(), row, strict=True) if t != s)
        assert {(t, s): times for t, s, times in one["confused"]} == dict(wrong)
        assert [times for *_, times in one["confused"]] == sorted(wrong.values(), reverse=True)


def test_trust_counts_the_answers_that_are_right_before_and_after(data: dict[str, Any], computed: Path) -> None:
    for one, saved in cells(data, "trust", computed):
        right, sure = saved["predicted"][0] == saved["labels"], saved["confidence"][0]
        after, sure_after = saved["calibrated_right"][0] == 1, saved["calibrated_confidence"][0]
        for kind, hit, confidence in (("", right, sure), ("calibrated_", after, sure_after)):
            bins = one[f"{kind}bins"]
            assert sum(count for count, *_ in bins) == hit.size
            assert sum(count * share for count, _, share in bins) == pytest.approx(100 * hit.sum(), abs=0.1 * hit.size)
            assert sum(n * mean for n, mean, _ in bins) == pytest.approx(100 * confidence.sum(), abs=0.1 * hit.size)
            assert one[f"{kind}risks"][-1] == [100.0, pytest.approx(100 * (1 - hit.mean()), abs=0.0051)]


def table(folder: Path, name: str) -> dict[str, dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return {line.pop("method"): line for line in csv.DictReader(file)}


def test_rows_against_each_other_are_those_of_the_tables(data: dict[str, Any], computed: Path) -> None:
    wins = table(computed, "comparison")
    for a, b, *score in data["wins"][0]:
        assert wins[f"{a + 1} {ROWS[a]}"][str(b + 1)] == "/".join(map(str, score))
    assert len(data["wins"][0]) == 6
    for ring in data["rings"]:
        dataset, shots = data["places"][ring["p"]]["dataset"], data["shots"][ring["s"]]
        column = "1 shot" if shots == "1" else f"{shots} shots"
        intervals, means = table(computed, f"{dataset}.tiny.intervals"), table(computed, f"{dataset}.tiny")
        marked = (computed / "tables" / f"{dataset}.tiny.md").read_text().splitlines()
        at = 2 + data["shots"].index(shots)
        level = [
            next(i for i, row in enumerate(ROWS) if line.split("|")[1].strip().startswith(row))
            for line in marked
            if line.startswith("|") and "†" in line.split("|")[at]
        ]
        assert ring["level"] == level
        assert ring["rows"] == [0, 1, 2]
        for row, (low, high) in zip(ROWS, ring["intervals"], strict=True):
            assert intervals[row][column] == f"{low:.2f} to {high:.2f}"
        for k, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
            mean, low, high, p = ring["pairs"][4 * k : 4 * k + 4]
            lead = float(means[ROWS[i]][column]) - float(means[ROWS[j]][column])
            assert mean == pytest.approx(lead, abs=0.016)
            assert low <= mean <= high
            assert 0 < p <= 1


def test_ranks_and_the_largest_class_are_those_of_the_tables(data: dict[str, Any], computed: Path) -> None:
    summary = table(computed, "summary")
    assert [f"{rank:.2f}" for rank in data["ranks"]] == [summary[row]["mean rank"] for row in ROWS]
    assert [one["majority"] for one in data["places"]] == [[25.0, "class 0"]] * 2
    assert [(one["classes"], one["queries"]) for one in data["places"]] == [(4, 36)] * 2
