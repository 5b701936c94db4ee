"""A whole dataset cross-validated: held to a plain loop over folds, and no image is answered by what has seen it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods.contract.base import Array, Classifier, Method, Replica, Task, unit
from methods.linear_probe import LinearProbe
from methods.logistic_regression import LogisticRegression
from methods.zero_shot import ZeroShot
from tests.samples import make_features
from workflow.lib.errors import UserError
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import predictions, scoring, supports
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.evaluation.cell import Result
from workflow.lib.features.store import Features, Split

PLAIN = ({"variant": "-", "params": {}},)
CELL = Cell("trial", "shapes", "tiny", "mine", "mine", "3", 2, "test", "last", PLAIN, folds=4)


class Means(Method):
    """The nearest class mean; keeps what it was given."""

    name = "means"

    def __init__(self) -> None:
        self.given: list[Array] = []

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support = task.supports[replica.seed]
        self.given.append(support.x)
        means = support.one_hot(task.classes).T @ support.x
        return lambda queries: queries @ means.T


@pytest.fixture
def folded() -> Features:
    """Forty-eight images of four classes, all in train, in four folds."""
    made = make_features(noise=1.6)
    folds = np.arange(48) // 4 % 4
    return replace(made, splits={"train": made.splits["train"]}, folds=folds[np.random.default_rng(0).permutation(48)])


def bench(features: Features, **changes: Any) -> Bench:
    return Bench(replace(CELL, **changes), features, "cpu", 1, lambda line: None)


def logits(result: Result, seed: int = 0) -> Array:
    return result.outcomes[seed].choices["last"].final()


def defaults(method: type[Method], **given: Any) -> list[dict[str, Any]]:
    return [{"variant": "-", "params": {**method.defaults({}), **given}}]


def by_hand(features: Features, seed: int, shots: int | None) -> Array:
    """A nearest mean for each fold, by a loop over images."""
    assert features.folds is not None
    x, y = unit(np.asarray(features.splits["train"].x)), features.splits["train"].y
    order = supports.draw(y, features.classnames, "all", seed, without=np.array([], np.int64))
    found = np.zeros((len(y), 4), np.float32)
    for i, fold in enumerate(features.folds):
        for k in range(4):
            own = [row for row in order if y[row] == k and features.folds[row] != fold][:shots]
            found[i, k] = x[i] @ x[own].sum(0)
    return found


@pytest.mark.parametrize("shots", ["3", "all"])
def test_it_is_what_a_loop_over_folds_finds(folded: Features, shots: str) -> None:
    whole = bench(folded, shots=shots)
    (result,) = cells.evaluate(whole, Means())
    for seed in range(2):
        expected = by_hand(folded, seed, None if shots == "all" else int(shots))
        np.testing.assert_allclose(logits(result, seed), expected, atol=1e-4)
        found = cells.metrics(whole, result.outcomes[seed])
        assert found["accuracy"] == (expected.argmax(1) == folded.splits["train"].y).mean()
    arrays = predictions.arrays(whole, [result])
    assert arrays["predicted"].shape == (1, 2, 48)
    assert arrays["labels"].tolist() == folded.splits["train"].y.tolist()


def test_a_classifier_has_seen_nothing_of_the_fold_that_it_answers(folded: Features) -> None:
    method = Means()
    cells.evaluate(bench(folded, shots="all", seeds=1), method)
    assert folded.folds is not None
    x = unit(np.asarray(folded.splits["train"].x))
    for fold, given in enumerate(method.given):
        seen = [bool((row == given).all(1).any()) for row in x]
        assert seen == (folded.folds != fold).tolist()


@pytest.mark.parametrize("shots", ["3", "all"])
@pytest.mark.parametrize("select", ["last", "support_cv"])
def test_the_label_of_an_image_says_nothing_of_how_its_fold_is_answered(
    folded: Features, select: str, shots: str
) -> None:
    """Labels of a fold are exchanged between its images: what is said of these stays the same to the last bit."""
    train, cell = folded.splits["train"], {"select": select, "shots": shots, "seeds": 1}
    assert folded.folds is not None
    own = np.flatnonzero(folded.folds == 2)
    turned = train.y.copy()
    turned[own] = np.roll(turned[own], 1)
    assert (turned != train.y).any()
    other = replace(folded, splits={"train": Split(train.x, turned)})
    variants = defaults(LogisticRegression)
    first, again = (
        cells.evaluate(bench(one, variants=variants, **cell), LogisticRegression())[0]
        .outcomes[0]
        .choices[select]
        .final()
        for one in (folded, other)
    )
    others = np.flatnonzero(folded.folds != 2)
    assert (first[others] != again[others]).any()
    np.testing.assert_array_equal(first[own], again[own])


def test_arrays_beside_the_features_go_with_their_images_into_the_folds(folded: Features) -> None:
    rng, train = np.random.default_rng(3), folded.splits["train"]
    pre, spatial = (rng.normal(size=(48, *shape)).astype(np.float32) for shape in ((11,), (2, 4)))
    given = replace(folded, splits={"train": replace(train, pre=pre, spatial_logits=spatial)})
    for fold in bench(given).folds:
        asked = fold.features.splits["test"]
        assert fold.without is not None
        assert np.array_equal(asked.pre, pre[fold.without])
        assert np.array_equal(asked.spatial_logits, spatial[fold.without])


def test_the_curve_is_that_of_all_images(folded: Features) -> None:
    variants = defaults(LinearProbe, epochs=5)
    whole = bench(folded, variants=variants)
    (result,) = cells.evaluate(whole, LinearProbe())
    outcome = result.outcomes[0]
    assert len(outcome.curve) == len(outcome.points) > 1
    found = cells.metrics(whole, outcome)
    assert found["accuracy"] == found["accuracy_last"] == outcome.curve[-1]


@pytest.mark.parametrize("metric", ["mean_per_class", "macro_f1", "auroc"])
def test_a_metric_that_is_no_mean_over_images_is_taken_of_all_images_and_has_no_curve(
    folded: Features, metric: str
) -> None:
    whole = bench(folded, variants=defaults(LinearProbe, epochs=5), metric=metric)
    (result,) = cells.evaluate(whole, LinearProbe())
    found = cells.metrics(whole, result.outcomes[0])
    assert found == scoring.metrics(logits(result), whole.labels, metric) | {"fit_seconds": found["fit_seconds"]}


def test_what_learns_nothing_answers_all_images_at_once(folded: Features) -> None:
    whole = bench(folded, shots="0", seeds=1, variants=defaults(ZeroShot))
    (result,) = cells.evaluate(whole, ZeroShot())
    text = folded.class_text()
    assert text is not None
    guesses = (unit(np.asarray(folded.splits["train"].x)) @ text.T).argmax(1)
    assert logits(result).argmax(1).tolist() == guesses.tolist()


def folds(values: Sequence[int] | None) -> Any:
    return None if values is None else np.array(values)


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (None, {}, "cross_validate: the features have no 4 folds: delete their file"),
        ([0, 1, 2, 3, 4, 5] * 8, {}, "cross_validate: the features have no 4 folds"),
        ([0, 1, 2, 3] * 12, {}, "cross_validate: all images of class 'class 0' that could be read are in one fold"),
        (None, {"shots": "10"}, "no 4 folds"),
        (
            [0] * 16 + [1] * 16 + [2] * 16,
            {"shots": "10"},
            "class 'class 0' has 8 images in train outside a fold, 10 are",
        ),
    ],
)
def test_features_that_do_not_fit_are_one_line(
    folded: Features, values: Sequence[int] | None, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        bench(replace(folded, folds=folds(values)), **changes)
