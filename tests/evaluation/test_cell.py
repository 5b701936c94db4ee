"""One cell: what the method is given, what is made of its answers, and what happens when it misbehaves."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods.contract.base import Array, Candidate, Classifier, Method, Params, Replica, Task, unit
from methods.logistic_regression import LogisticRegression
from methods.zero_shot import ZeroShot
from workflow.lib.errors import UserError
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import fitting, predictions, scoring
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.features.store import Features

PLAIN = ({"variant": "-", "params": {}},)
CELL = Cell("trial", "shapes", "tiny", "mine", "mine", "2", 3, "test", "last", PLAIN)


class Means(Method):
    """The nearest class mean; keeps the task, so that a test can look at it."""

    name = "means"

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        self.task = task
        yield from super().fit(task, replicas)

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support = task.supports[replica.seed]
        means = support.one_hot(task.classes).T @ support.x
        return lambda queries: queries @ means.T


class Epochs(Method):
    """Four epochs; the second is the best, by construction: it is told the labels by their order."""

    name = "epochs"

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for epoch, right in enumerate([1, 3, 2, 2], 1):

            def logits(queries: Array, right: int = right) -> Array:
                guess = np.arange(len(queries)) % task.classes  # the labels of the features of these tests
                guess = np.where(guess < right, guess, (guess + 1) % task.classes)
                return np.stack([np.eye(task.classes, dtype=np.float32)[guess]] * len(replicas))

            yield Candidate(replicas, logits, {"epoch": epoch}, note="a note" if epoch == 2 else "")


def bench(features: Features, cell: Cell = CELL, **changes: Any) -> Bench:
    return Bench(replace(cell, **changes), features, "cpu", 1, lambda line: None)


def variants(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """A sweep over one parameter."""
    ((name, settings),) = values.items()
    return [{"variant": f"{name}={value}", "params": {name: value}} for value in settings]


# --- what the method is given ------------------------------------------------------------------------------------


def test_a_task_holds_the_supports_of_all_seeds_and_nothing_of_the_reported_split(features: Features) -> None:
    method = Means()
    cells.evaluate(bench(features), method)
    task = method.task
    assert (sorted(task.supports), task.classes, task.dim, task.shots) == ([0, 1, 2], 4, 8, "2")
    assert task.logit_scale == features.logit_scale
    for support in task.supports.values():
        assert np.bincount(support.y).tolist() == [2, 2, 2, 2]
        assert all((row == unit(features.splits["train"].x)).all(1).any() for row in support.x)


@pytest.mark.parametrize(
    ("select", "also", "choosing"),
    [
        ("last", [], False),
        ("report", [], True),
        ("val_full", [], True),
        ("last", ["report"], True),
        ("support_cv", ["last"], True),
    ],
)
def test_a_method_knows_whether_candidates_are_worth_their_time(
    features: Features, select: str, also: list[str], choosing: bool
) -> None:
    """Under any of the study's regimes."""
    assert bench(features, select=select, also=also).task(raw=False).choosing is choosing


def test_text_and_images_are_of_unit_length_unless_the_method_asks_for_raw_ones(features: Features) -> None:
    seen: dict[str, tuple[Array, Array]] = {}

    class Looks(Means):
        def raw(self, params: Params) -> bool:
            return params["raw"]

        def classifier(self, task: Task, replica: Replica) -> Classifier:
            classify = super().classifier(task, replica)

            def looking(queries: Array) -> Array:
                seen[replica.variant] = (task.supports[replica.seed].x, queries)
                return classify(queries)

            return looking

    method = Looks()
    cells.evaluate(bench(features, variants=variants(raw=[True, False])), method)
    np.testing.assert_allclose(np.linalg.norm(method.task.class_text(), axis=1), 1, rtol=1e-6)
    for array in seen["raw=False"]:
        np.testing.assert_allclose(np.linalg.norm(array, axis=1), 1, rtol=1e-6)
    support, queries = seen["raw=True"]
    assert (queries == features.splits["test"].x).all()
    np.testing.assert_array_equal(unit(support), seen["raw=False"][0])


def test_a_task_has_the_text_at_the_length_that_the_file_gives_it(features: Features) -> None:
    """The mean over the templates as they are, not made unit before or after."""
    templates = features.text
    assert templates is not None
    expected = [sum(each) / len(each) for each in templates]
    np.testing.assert_allclose(bench(features).task(raw=False).own_text(), expected, rtol=1e-6)
    assert not np.allclose(np.linalg.norm(expected, axis=1), 1)


def test_without_text_a_task_has_none_at_its_own_length_either(features_of: Callable[..., Features]) -> None:
    assert bench(features_of(text=False)).task(raw=False).text_raw is None


@pytest.mark.parametrize(
    ("report", "select", "splits"),
    [
        ("test", "last", ["train", "test"]),
        ("val", "report", ["train", "val"]),
        ("test", "report", ["train", "test"]),
        ("test", "val_full", ["train", "val", "test"]),
        ("test", "val_fewshot", ["train", "val", "test"]),
    ],
)
def test_a_cell_reads_the_splits_that_it_uses(report: str, select: str, splits: list[str]) -> None:
    assert replace(CELL, report=report, select=select).splits() == splits


# --- what is made of it ------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_variants_however_they_are_grouped(features: Features) -> None:
    class Mixed(Means):
        def raw(self, params: Params) -> bool:
            return params["n"] % 2 == 0

    found = cells.evaluate(bench(features, variants=variants(n=[4, 1, 2, 3])), Mixed())
    assert [result.variant for result in found] == ["n=4", "n=1", "n=2", "n=3"]
    assert all(list(result.outcomes) == [0, 1, 2] for result in found)


def test_without_text_what_needs_it_is_not_run_and_the_rest_is(features_of: Callable[..., Features]) -> None:
    sweep = [{"inputs": inputs, "scale": "none", "C": 1.0, "max_iter": 50} for inputs in ("logits", "image")]
    given = [{"variant": params["inputs"], "params": params} for params in sweep]
    logits, image = cells.evaluate(bench(features_of(text=False), variants=given), LogisticRegression())
    assert (logits.reason, dict(logits.outcomes)) == ("needs text, which these features don't have", {})
    assert image.reason == ""
    assert len(image.outcomes) == 3


def test_all_needs_that_are_not_met_are_named(features_of: Callable[..., Features]) -> None:
    class Greedy(Means):
        def needs(self, params: Params) -> frozenset[str]:
            return frozenset({"image", "text", "spatial"})

    (result,) = cells.evaluate(bench(features_of(text=False)), Greedy())
    assert result.reason.startswith("needs spatial, text, which these features don't have")


def test_metrics_are_those_of_the_method_s_classifier(features: Features) -> None:
    made, method = bench(features), Means()
    (result,) = cells.evaluate(made, method)
    for seed, outcome in result.outcomes.items():
        logits = method.classifier(method.task, Replica("-", {}, seed))(unit(features.splits["test"].x))
        found = cells.metrics(made, outcome)
        expected = scoring.metrics(logits, features.splits["test"].y)
        assert {name: found[name] for name in expected} == pytest.approx(expected)
        assert set(found) - set(expected) == {"fit_seconds"}  # one candidate is no curve: nothing to peek at


@pytest.mark.parametrize(
    ("select", "epoch", "accuracy"), [("last", 4, 0.5), ("report", 2, 0.75), ("val_full", 2, 0.75)]
)
def test_the_last_and_the_best_epoch_are_recorded_whatever_is_chosen(
    features: Features, select: str, epoch: int, accuracy: float
) -> None:
    made = bench(features, select=select)
    (result,) = cells.evaluate(made, Epochs())
    for outcome in result.outcomes.values():
        found = cells.metrics(made, outcome)
        assert outcome.choices[select].point == {"epoch": epoch}
        assert (found["accuracy"], found["accuracy_last"], found["accuracy_peek"]) == (accuracy, 0.5, 0.75)
        assert outcome.curve == [0.25, 0.75, 0.5, 0.5]
        assert outcome.notes == ["a note"]


def test_seconds_are_shared_among_the_replicas_of_a_candidate(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(fitting.time, "perf_counter", lambda: float(next(ticks)))
    (result,) = cells.evaluate(bench(features), Epochs())
    assert [outcome.fit_seconds for outcome in result.outcomes.values()] == [pytest.approx(4 / 3)] * 3


@pytest.mark.parametrize("select", ["last", "report", "val_full", "val_fewshot"])
def test_zero_shot_is_one_cell_without_a_label_under_every_protocol(features: Features, select: str) -> None:
    made = bench(features, shots="0", seeds=1, select=select)
    (result,) = cells.evaluate(made, ZeroShot())
    text = features.class_text()
    expected = (unit(features.splits["test"].x) @ text.T).argmax(1) == features.splits["test"].y
    assert cells.metrics(made, result.outcomes[0])["accuracy"] == expected.mean()
    assert (result.trainable, len(made.rows[0])) == (0, 0)


def test_predictions_agree_with_the_metrics(features: Features) -> None:
    made = bench(features, variants=variants(n=[1, 2]))
    results = cells.evaluate(made, Means())
    arrays = predictions.arrays(made, results)
    assert arrays["predicted"].shape == arrays["probability"].shape == (2, 3, len(made.labels))
    assert (arrays["variants"].tolist(), arrays["seeds"].tolist()) == (["n=1", "n=2"], [0, 1, 2])
    for v, result in enumerate(results):
        for seed, outcome in result.outcomes.items():
            found = cells.metrics(made, outcome)
            assert (arrays["predicted"][v, seed] == arrays["labels"]).mean() == found["accuracy"]
            assert -np.log(arrays["probability"][v, seed]).mean() == pytest.approx(found["nll"], rel=1e-5)


def test_predictions_leave_out_what_was_not_run(features_of: Callable[..., Features]) -> None:
    made = bench(features_of(text=False), seeds=1, shots="0")
    arrays = predictions.arrays(made, cells.evaluate(made, ZeroShot()))
    assert arrays["predicted"].shape == (0, 1, len(made.labels))
    assert (arrays["variants"].tolist(), arrays["variants"].dtype.kind) == ([], "U")


def test_a_cell_computed_twice_is_the_same_and_seeds_differ(features: Features) -> None:
    first, second = (predictions.arrays(made, cells.evaluate(made, Means())) for made in [bench(features)] * 2)
    assert (first["probability"] == second["probability"]).all()
    assert (first["probability"][0, 0] != first["probability"][0, 1]).any()


def test_bytes_are_those_of_the_matrix_where_it_is_one_and_unknown_where_nobody_knows(features: Features) -> None:
    dim, classes = features.splits["train"].x.shape[1], len(features.classnames)
    assert [one.size for one in cells.evaluate(bench(features), Means())] == [4 * (dim + 1) * classes]
    assert [one.size for one in cells.evaluate(bench(features), Epochs())] == [None]


@pytest.mark.parametrize("limit", [predictions.LOGITS_LIMIT, 0])
def test_nll_ece_and_brier_can_be_computed_again_from_what_is_saved(
    features: Features, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "LOGITS_LIMIT", limit)
    monkeypatch.setattr(predictions, "LARGEST", 2)
    made = bench(features)
    (result,) = cells.evaluate(made, Means())
    saved = predictions.arrays(made, [result])
    for seed, outcome in result.outcomes.items():
        found = cells.metrics(made, outcome)
        hit = saved["predicted"][0, seed] == saved["labels"]
        assert saved["nll"][0, seed].mean() == pytest.approx(found["nll"], rel=1e-6)
        ece = scoring.expected_calibration_error(saved["confidence"][0, seed], hit)
        assert ece == pytest.approx(found["ece"], abs=1e-6)
        brier = saved["squares"][0, seed] - 2 * saved["probability"][0, seed] + 1
        assert brier.mean() == pytest.approx(found["brier"], abs=1e-6)


def test_small_logits_are_saved_whole_and_of_large_ones_the_largest(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(features)
    results = cells.evaluate(made, Means())
    exact = scoring.log_softmax(results[0].outcomes[0].choices["last"].final())
    saved = predictions.arrays(made, results)
    assert saved["logits"].dtype == np.float16
    np.testing.assert_allclose(saved["logits"][0, 0], exact, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(predictions, "LOGITS_LIMIT", 0)
    monkeypatch.setattr(predictions, "LARGEST", 2)
    saved = predictions.arrays(made, results)
    assert "logits" not in saved
    assert saved["top_classes"].shape == saved["top_logits"].shape == (1, 3, len(made.labels), 2)
    assert (saved["top_classes"][..., 0] == saved["predicted"]).all()
    np.testing.assert_allclose(saved["top_logits"][0, 0, :, 0], exact.max(1), rtol=1e-3, atol=1e-6)
    auroc = predictions.arrays(bench(features, metric="auroc"), results)
    assert auroc["logits"].dtype == np.float32


def test_the_images_of_each_class_are_saved_for_the_splits_that_the_cell_reads(features: Features) -> None:
    saved = predictions.arrays(made := bench(features, select="val_full"), cells.evaluate(made, Means()))
    assert saved["splits"].tolist() == ["train", "val", "test"]
    assert saved["classnames"].tolist() == list(features.classnames)
    for split, images in zip(saved["splits"], saved["images"], strict=True):
        assert images.tolist() == np.bincount(features.splits[split].y).tolist()


@pytest.mark.parametrize("metric", ["mean_per_class", "macro_f1", "auroc"])
def test_the_curve_is_of_the_study_s_metric(features: Features, metric: str) -> None:
    made = bench(features, metric=metric, select="report")
    (result,) = cells.evaluate(made, Epochs())
    found = cells.metrics(made, result.outcomes[0])
    assert found[metric] == found[f"{metric}_peek"] == max(result.outcomes[0].curve)
    assert found[f"{metric}_last"] == result.outcomes[0].curve[-1]
    assert "accuracy_peek" not in found


def test_auroc_of_one_class_is_one_line(features: Features) -> None:
    split = features.splits["test"]
    one = replace(features, splits={**features.splits, "test": replace(split, y=np.zeros_like(split.y))})
    with pytest.raises(UserError, match=r"^metric: auroc compares .* of shapes's test are of one class; allowed"):
        bench(one, metric="auroc")
    assert "auroc" not in scoring.metrics(np.eye(2, dtype=np.float32), np.zeros(2, np.int64))


# --- when it misbehaves ------------------------------------------------------------------------------------------


def raising(task: Task, replica: Replica) -> Classifier:
    raise KeyError("no such layer")


def nan(task: Task, replica: Replica) -> Classifier:
    return lambda queries: np.full((len(queries), task.classes), np.nan)


def transposed(task: Task, replica: Replica) -> Classifier:
    return lambda queries: np.zeros((task.classes, len(queries)))


def silent(self: Method, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
    return iter([Candidate(replicas[:1], lambda queries: np.zeros((1, len(queries), task.classes)))])


@pytest.mark.parametrize(
    ("classifier", "error", "message"),
    [
        (nan, ValueError, r"^variant '-', seed 0: logits are not finite at {}$"),
        (transposed, ValueError, r"^variant '-', seed 0: logits have shape \(1, 4, 36\), expected \(1, 36, 4\)$"),
        (raising, KeyError, "no such layer"),
    ],
)
def test_a_failure_names_the_replica_where_it_is_known(
    features: Features, classifier: Callable[..., Classifier], error: type[Exception], message: str
) -> None:
    method = type("Wrong", (Method,), {"name": "wrong", "classifier": lambda self, *given: classifier(*given)})()
    with pytest.raises(error, match=message):
        cells.evaluate(bench(features), method)


def crashing(task: Task, replica: Replica) -> Classifier:
    return lambda queries: queries @ queries


@pytest.mark.parametrize(
    ("classifier", "note"),
    [
        (raising, "at variant '-', seed 0, the first without a result"),
        (crashing, "at variant '-', seed 0, classifying"),
    ],
)
def test_an_error_of_a_plugin_notes_where_it_was(
    features: Features, classifier: Callable[..., Classifier], note: str
) -> None:
    method = type("Wrong", (Method,), {"name": "wrong", "classifier": lambda self, *given: classifier(*given)})()
    with pytest.raises((KeyError, ValueError)) as caught:
        cells.evaluate(bench(features), method)
    assert caught.value.__notes__ == [note]


def test_an_error_of_a_later_replica_notes_that_one(features: Features) -> None:
    def classifier(self: Method, task: Task, replica: Replica) -> Classifier:
        return raising(task, replica) if replica.seed == 1 else nothing

    def nothing(queries: Array) -> Array:
        return np.zeros((len(queries), 4))

    method = type("Wrong", (Method,), {"name": "wrong", "classifier": classifier})()
    with pytest.raises(KeyError) as caught:
        cells.evaluate(bench(features), method)
    assert caught.value.__notes__ == ["at variant '-', seed 1, the first without a result"]


def test_a_replica_that_got_no_candidate_is_named(features: Features) -> None:
    method = type("Silent", (Method,), {"name": "silent", "fit": silent})()
    with pytest.raises(ValueError, match=r"^variant '-', seed 1: fit yielded no candidate$"):
        cells.evaluate(bench(features), method)


def test_too_many_shots_name_the_class(features: Features) -> None:
    with pytest.raises(UserError, match=r"^class 'class 0' has 12 images in train, 13 are asked for"):
        bench(features, shots="13")
