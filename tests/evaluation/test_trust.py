"""What calibrates a cell's classifiers: held-out logits by hand, never the reported labels, and what is saved of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.contract.base import Candidate, Method, Replica, Task, unit
from methods.linear_probe import LinearProbe
from methods.zero_shot import ZeroShot
from tests.conftest import make_features
from tests.evaluation.test_cell import Means
from workflow.lib.evaluation import calibration, calibrator, conformal, cross_validation, predictions, records
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import trust as trusted
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.evaluation.calibrator import Settings
from workflow.lib.evaluation.folds import split
from workflow.lib.evaluation.trust import Held, Trust
from workflow.lib.features.store import Features, Split

PLAIN = ({"variant": "-", "params": {}},)
CELL = Cell("trial", "shapes", "tiny", "mine", "mine", "5", 2, "test", "last", PLAIN)
VAL, SUPPORT = {"held_out": "val"}, {"held_out": "support_cv"}
WAYS: dict[str, dict[str, Any]] = {
    "named val": {"calibrate": VAL},
    "named support": {"calibrate": SUPPORT},
    "chosen on val": {"select": "val_full"},
    "chosen on a few of val": {"select": "val_fewshot"},
    "chosen on the support": {"select": "support_cv", "calibrate": SUPPORT},
    "isotonic": {"calibrate": VAL | {"method": "isotonic"}},
}


class Stages(Method):
    """Three candidates; the class means are the second, and the others are worse."""

    name = "stages"

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            support = task.supports[replica.seed]
            means = support.one_hot(task.classes).T @ support.x
            for epoch, scale in enumerate((-1, 1, -0.5), 1):
                yield Candidate.of(replica, lambda queries, w=scale * means: queries @ w.T, {"epoch": epoch})


def bench(features: Features | None = None, **changes: Any) -> Bench:
    return Bench(replace(CELL, **changes), features or make_features(noise=1.5), "cpu", 1, lambda line: None)


def trusts(made: Bench, method: Method) -> list[Trust | None]:
    """Of every seed of one variant, under the first regime."""
    (result,) = cells.evaluate(made, method)
    return [outcome.choices[made.cell.select].trust for outcome in result.outcomes.values()]


def trust(made: Bench, method: Method, seed: int = 0) -> Trust:
    found = trusts(made, method)[seed]
    assert found is not None
    return found


def held_of(found: Trust) -> Held:
    """The held-out logits and labels that are kept of it."""
    held = found.parts[0][2]
    assert held is not None
    return held


def means(made: Bench, seed: int, without: np.ndarray | None = None) -> np.ndarray:
    """The class means of a seed's support, without some of its rows."""
    rows = made.rows[seed] if without is None else np.delete(made.rows[seed], without)
    train = made.features.splits["train"]
    return np.eye(len(made.features.classnames))[train.y[rows]].T @ unit(train.x[rows])


def test_val_calibrates_and_the_reported_split_measures() -> None:
    made = bench(calibrate=VAL)
    for seed in range(2):
        found, weights = trust(made, Means(), seed), means(made, seed)
        val, test = (made.features.splits[name] for name in ("val", "test"))
        held = calibration.compact(unit(val.x[:]) @ weights.T)
        at = calibration.temperature(held.astype(np.float32), val.y)
        logits = torch.from_numpy(unit(test.x[:]) @ weights.T) / at
        metrics = found.metrics()
        assert metrics["temperature"] == pytest.approx(at, rel=1e-3)
        expected = torch.nn.functional.cross_entropy(logits, torch.from_numpy(test.y))
        assert metrics["nll_calibrated"] == pytest.approx(float(expected), abs=1e-3)
        probability = torch.softmax(logits, 1).numpy()
        scores = np.sort(1 - np.exp(calibration.scaled(held.astype(np.float32), at))[np.arange(len(val.y)), val.y])
        level = scores[conformal.rank(len(scores), 0.9) - 1]
        inside = 1 - probability <= level
        assert metrics["coverage"] == pytest.approx(inside[np.arange(len(test.y)), test.y].mean(), abs=0.02)
        assert metrics["set_size"] == pytest.approx(inside.sum(1).mean(), abs=0.05)


def test_every_measure_is_counted_image_by_image() -> None:
    """Six images of each class calibrate, nine are asked about; the level and the error make both kinds of answer."""
    made = bench(calibrate=VAL | {"level": 0.8, "error": 0.4})
    (result,) = cells.evaluate(made, Means())
    choice = result.outcomes[0].choices["last"]
    found, logits = choice.trust, choice.final()
    assert found is not None
    held, own = held_of(found)
    at, labels = found.parts[0][0].temperature, made.features.splits["test"].y
    asked, known = (torch.softmax(torch.from_numpy(x.astype(float)) / at, 1).numpy() for x in (logits, held))
    bounds = [np.sort([1 - p[k] for p, label in zip(known, own, strict=True) if label == k])[5] for k in range(4)]
    inside = [[1 - p[k] <= bounds[k] + 1e-9 for k in range(4)] for p in asked]
    sure = sorted(((p.max(), p.argmax() == label) for p, label in zip(asked, labels, strict=True)), reverse=True)
    given = [right for confidence, right in sure if confidence >= found.parts[0][0].unsure - 1e-9]
    assert 0 < len(given) < len(sure)
    errors = [np.mean([not right for _, right in sure[:n]]) for n in range(1, len(sure) + 1)]
    expected = {
        "coverage_mondrian": np.mean([row[label] for row, label in zip(inside, labels, strict=True)]),
        "set_size_mondrian": np.mean([sum(row) for row in inside]),
        "answered": len(given) / len(sure),
        "answered_error": 1 - np.mean(given),
        "aurc": np.mean(errors),
        "brier_calibrated": np.mean(
            [((p - np.eye(4)[label]) ** 2).sum() for p, label in zip(asked, labels, strict=True)]
        ),
    }
    metrics = found.metrics()
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert len({round(value, 4) for value in expected.values()}) == len(expected)
    told = found.described()
    assert told["band"] == list(conformal.band([(24, 36)], 0.8))
    assert told["band_mondrian"] == list(conformal.band([(6, 9)] * 4, 0.8)) != told["band"]


def test_out_of_folds_every_image_is_answered_without_it() -> None:
    made = bench(calibrate=SUPPORT)
    for seed in range(2):
        held, labels = held_of(trust(made, Means(), seed))
        train, rows = made.features.splits["train"], made.rows[seed]
        assert (labels == train.y[rows]).all()
        expected = np.zeros(held.shape)
        for fold in split(seed, labels):
            expected[fold.out] = unit(train.x[rows[fold.out]]) @ means(made, seed, fold.out).T
        assert held == pytest.approx(calibration.compact(expected), abs=2e-3)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("method", [Means, Stages])
def test_no_reported_label_calibrates_anything(way: dict[str, Any], method: type[Method]) -> None:
    features = make_features(noise=1.5)
    test = features.splits["test"]
    turned = replace(features, splits=features.splits | {"test": Split(test.x, (test.y + 1) % 4)})
    for one, other in zip(
        trusts(bench(features, **way), method()), trusts(bench(turned, **way), method()), strict=True
    ):
        assert one is not None
        assert other is not None
        assert not one.reason
        assert one.metrics()["nll_calibrated"] != other.metrics()["nll_calibrated"]
        (held, labels), (again, same) = held_of(one), held_of(other)
        mine, its = one.parts[0][0], other.parts[0][0]
        assert (held == again).all()
        assert (labels == same).all()
        assert (mine.temperature, mine.unsure) == (its.temperature, its.unsure)
        assert (mine.marginal == its.marginal).all()
        assert (mine.mondrian == its.mondrian).all()


@pytest.mark.parametrize("select", ["last", "report"])
def test_without_held_out_images_nothing_is_calibrated(select: str) -> None:
    made = bench(select=select)
    assert trusts(made, Stages()) == [None, None]
    record = records.record(made, cells.evaluate(made, Stages()), {}, {})
    assert "calibration" not in record["variants"][0]["seeds"][0]
    assert "temperature" not in record["variants"][0]["seeds"][0]["metrics"]


@pytest.mark.parametrize("way", ["chosen on val", "chosen on the support"])
def test_it_is_the_chosen_candidate_that_is_calibrated(way: str) -> None:
    """The second of three: its logits are those of the class means."""
    plain = "named val" if way == "chosen on val" else "named support"
    chosen, expected = trust(bench(**WAYS[way]), Stages()), trust(bench(**WAYS[plain]), Means())
    assert held_of(chosen)[0] == pytest.approx(held_of(expected)[0], abs=1e-2)
    last = trust(bench(**WAYS[plain]), Stages())
    assert held_of(last)[0] != pytest.approx(held_of(expected)[0], abs=1e-2)


def test_every_regime_has_its_own(tmp_path: Path) -> None:
    made = bench(select="last", also=["val_full", "support_cv", "report"])
    results = cells.evaluate(made, Stages())
    record = records.record(made, results, {}, {})
    seed = record["variants"][0]["seeds"][0]
    assert "calibration" not in seed
    assert {name: one.get("calibration", {}).get("held_out") for name, one in seed["also"].items()} == {
        "val_full": "val",
        "support_cv": "support_cv",
        "report": None,
    }
    assert "coverage" in seed["also"]["val_full"]["metrics"]
    assert "coverage" not in seed["also"]["report"]["metrics"]


def test_one_image_a_class_calibrates_nothing_out_of_folds_and_says_why() -> None:
    found = trust(bench(shots="1", calibrate=SUPPORT), Means())
    assert found.metrics() == {}
    assert found.described() == {
        "held_out": "support_cv",
        "reason": "4 classes have one image, which no fold can leave out",
    }
    assert trust(bench(shots="1", calibrate=VAL), Means()).metrics()["coverage"] > 0


def test_what_learns_nothing_has_no_support_to_calibrate_on() -> None:
    made = bench(shots="0", seeds=1, calibrate=SUPPORT)
    assert "nothing is fitted to a support" in trust(made, ZeroShot()).reason
    assert trust(bench(shots="0", seeds=1, calibrate=VAL), ZeroShot()).metrics()["temperature"] > 0


def test_as_many_of_val_as_there_are_shots_are_none_for_what_learns_from_none() -> None:
    found = trust(bench(shots="0", seeds=1, select="val_fewshot"), ZeroShot())
    assert found.metrics() == {}
    assert found.described() == {"held_out": "val_fewshot", "reason": "no image is held out at 0 shots"}


def test_where_nothing_is_chosen_folds_are_left_out_on_request_only() -> None:
    assert "calibrate: {held_out: support_cv}" in trust(bench(select="support_cv"), Means()).reason
    assert not trust(bench(select="support_cv", calibrate=SUPPORT), Means()).reason


def test_logits_of_too_many_candidates_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2 * 4 * 5 * 4  # bytes of the logits of a support of 4 classes with 5 images
    monkeypatch.setattr(cross_validation.Keeping.__init__, "__defaults__", (2 * size,))
    assert "take more than" in trust(bench(select="support_cv"), Stages()).reason
    assert not trust(bench(calibrate=SUPPORT), Stages()).reason  # of the last alone


@pytest.mark.parametrize("held_out", ["val", "support_cv"])
def test_a_replica_is_calibrated_alone_as_in_company(held_out: str) -> None:
    """Trainings of unequal length out of folds too."""
    params = LinearProbe.defaults({}) | {"epochs": 3}
    several = [{"variant": f"lr={lr}", "params": params | {"lr": lr}} for lr in (0.001, 0.01)]
    made = {"calibrate": {"held_out": held_out}, "shots": "3"}
    together = cells.evaluate(bench(variants=several, **made), LinearProbe())
    for result, variant in zip(together, several, strict=True):
        alone = trust(bench(variants=[variant], **made), LinearProbe())
        mine = result.outcomes[0].choices["last"].trust
        assert mine is not None
        assert mine.metrics() == pytest.approx(alone.metrics(), rel=1e-3, abs=1e-3)


def folded() -> Features:
    features = make_features(noise=1.5)
    train = features.splits["train"]
    return replace(features, splits={"train": train}, folds=np.arange(len(train.y)) // 4 % 3)


def test_a_cross_validated_dataset_is_calibrated_in_each_fold() -> None:
    made = bench(folded(), folds=3, calibrate=SUPPORT, shots="3")
    (result,) = cells.evaluate(made, Means())
    for outcome in result.outcomes.values():
        choice = outcome.choices["last"]
        assert choice.trust is not None
        temperatures = [part.temperature for part, _, _ in choice.trust.parts]
        assert len(set(temperatures)) == 3
        logits, train = choice.final(), made.features.splits["train"]
        for fold, at in enumerate(temperatures):
            own = made.features.folds == fold
            nll = -calibration.scaled(logits[own], at)[np.arange(own.sum()), train.y[own]]
            assert choice.trust.images["nll"][own] == pytest.approx(nll)
        described = choice.trust.described()
        assert described["images"] == 3 * 12
        assert described["band"][0] < choice.trust.metrics()["coverage"] <= 1


def test_the_level_and_the_error_are_those_of_the_study() -> None:
    found = trust(bench(calibrate=VAL | {"level": 0.6, "error": 0.3}), Means())
    assert found.parts[0][0].settings == Settings(0.6, 0.3)
    assert found.described()["level"] == 0.6
    wider = trust(bench(calibrate=VAL | {"level": 0.95, "error": 0.3}), Means())
    assert wider.metrics()["set_size"] > found.metrics()["set_size"]


# --- what is saved -----------------------------------------------------------------------------------------------


def saved(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The record and the arrays of a cell with two variants, the second of which says nothing of its own."""
    made = bench(**changes)
    results = cells.evaluate(made, Stages())
    return records.record(made, results, {}, {}), predictions.arrays(made, results)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_calibration_can_be_computed_again_from_what_is_saved(way: dict[str, Any]) -> None:
    record, arrays = saved(**way)
    for seed in record["variants"][0]["seeds"]:
        metrics, at = seed["metrics"], (0, seed["seed"])
        own = (arrays["held_out_of"] == (*at, 0)).all(1)
        held = arrays["held_out_logits"][own].astype(np.float32)
        temperature = calibration.temperature(held, arrays["held_out_labels"][own])
        assert temperature == pytest.approx(metrics["temperature"], rel=1e-6)
        again = calibration.scaled(arrays["logits"][at].astype(np.float32), temperature)
        if way.get("calibrate", {}).get("method") != "isotonic":
            found = calibration.quality(again, arrays["labels"])
            assert found["nll"] == pytest.approx(metrics["nll_calibrated"], abs=2e-3)
            assert found["brier"] == pytest.approx(metrics["brier_calibrated"], abs=2e-3)
        for name, metric in {"calibrated_nll": "nll_calibrated", "calibrated_brier": "brier_calibrated"}.items():
            assert arrays[name][at].mean() == pytest.approx(metrics[metric], rel=1e-5)
        for name, metric in {"covered": "coverage", "set_size": "set_size", "answered": "answered"}.items():
            assert arrays[name][at].mean() == pytest.approx(metrics[metric])


def test_the_file_says_what_each_of_its_arrays_is_and_so_does_the_page() -> None:
    _, arrays = saved(calibrate=VAL)
    about = json.loads(str(arrays["about"]))
    assert set(about) | {"about"} == set(arrays)
    page = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
    assert all(f"`{name}" in page for name in predictions.ABOUT)


def test_without_calibration_there_are_no_arrays_of_it() -> None:
    _, arrays = saved()
    assert not {name for name in arrays if name.startswith(("calibrated", "held_out", "covered"))}


def test_large_held_out_logits_are_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(2 * 4 * len(make_features().splits["val"].y) for _ in range(2))  # of two seeds
    for limit in (size - 1, size // 2 - 1):  # each of them would do; neither would
        monkeypatch.setattr(trusted, "LIMIT", limit)
        _, arrays = saved(calibrate=VAL)
        assert not {name for name in arrays if name.startswith("held_out")}
        assert "covered" in arrays
    monkeypatch.setattr(trusted, "LIMIT", size)
    assert "held_out_logits" in saved(calibrate=VAL)[1]


def test_images_are_judged_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trust(bench(calibrate=VAL), Means()).images
    monkeypatch.setattr(calibrator, "_SLICE", 5 * 4)
    for name, found in trust(bench(calibrate=VAL), Means()).images.items():
        np.testing.assert_array_equal(found, whole[name])


def test_the_files_of_the_images_are_named_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    features = make_features()
    names = [f"{i}.png" for i in range(len(features.splits["test"].y))]
    made = bench(replace(features, files={"test": names}))
    assert predictions.arrays(made, cells.evaluate(made, Means()))["files"].tolist() == names
    monkeypatch.setattr(predictions, "FILES_LIMIT", 10)
    assert "files" not in predictions.arrays(made, cells.evaluate(made, Means()))
