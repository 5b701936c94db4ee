"""Needs: a method runs on the features that have what it asks for, and is told why where they don't."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods import Classifier, Method, Params, Replica, Task, unit
from tests.samples import make_features
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import needs
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.features.store import Features

SETS = (("image",), ("image", "views"))
ELSEWHERE = {"spec": {"features": "path/{dataset}.npz"}}


class Wants(Method):
    """The class means; needs what its parameter says, and keeps the tasks that it is given."""

    name = "wants"

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset(params["needs"])

    def raw(self, params: Params) -> bool:
        return params.get("raw", False)

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        self.tasks.append(task)
        support = task.supports[replica.seed]
        means = support.one_hot(task.classes).T @ support.x
        return lambda queries: queries @ means.T


def run(features: Features, *wanted: tuple[str, ...], **params: Any) -> tuple[list[cells.Result], list[Task], Bench]:
    """A cell with a variant for each set of needs."""
    variants = [{"variant": "+".join(each), "params": {"needs": each, **params}} for each in wanted]
    cell = Cell("trial", "shapes", "tiny", "mine", "wants", "2", 2, "test", "last", variants)
    bench, method = Bench(cell, features, "cpu", 1, lambda line: None), Wants()
    return cells.evaluate(bench, method), method.tasks, bench


@pytest.fixture
def viewed(features: Features) -> Features:
    """Features with three views of each image of train."""
    train = features.splits["train"].x
    noise = np.random.default_rng(3).normal(size=(len(train), 3, train.shape[1]))
    return replace(features, train_views=(train[:, None] + noise).astype(np.float32))


@pytest.mark.parametrize(
    ("need", "reason"),
    [
        ("views", "needs views, which these features don't have: set 'views' in the dataset's entry"),
        ("spatial", "needs spatial, which these features don't have: they are one pooled embedding of each image"),
        ("text_encoder", "needs text_encoder, which these features don't have: their texts are already encoded"),
        ("model", "needs model, which these features don't have: a method is given features and no model"),
        ("telepathy", "needs telepathy, which these features don't have"),
    ],
)
def test_what_can_t_be_met_is_n_a_with_the_reason_and_the_rest_runs(features: Features, need: str, reason: str) -> None:
    (refused, ran), tasks, _ = run(features, ("image", need), ("image", "text"))
    assert (refused.reason, dict(refused.outcomes)) == (reason, {})
    assert (ran.reason, list(ran.outcomes)) == ("", [0, 1])
    assert len(tasks) == 2


def test_of_features_from_elsewhere_the_file_is_where_it_can_be_put() -> None:
    made = replace(make_features(text=False), metadata=ELSEWHERE)
    (refused,), _, _ = run(made, ("image", "views", "text"))
    assert refused.reason == (
        "needs text, views, which these features don't have:"
        " put text_x (K, D) into their npz file; put train_views (N, V, D) there"
    )


def test_what_features_have_is_met(features: Features, viewed: Features) -> None:
    assert needs.met(features) == {"image", "text"}
    assert needs.met(viewed) == {"image", "text", "views"}
    assert needs.met(make_features(text=False)) == {"image"}


@pytest.mark.parametrize("raw", [False, True])
def test_the_support_has_the_views_of_its_images(viewed: Features, raw: bool) -> None:
    (result,), tasks, bench = run(viewed, ("image", "views"), raw=raw)
    assert result.reason == ""
    for seed, rows in bench.rows.items():
        expected = viewed.train_views[rows] if raw else unit(viewed.train_views[rows])
        support = tasks[seed].supports[seed]
        assert np.array_equal(support.views, expected)
        assert (support.view_lengths is None) is raw
        mean = unit(np.asarray(viewed.train_views[rows]).mean(1))  # of views at their own length, whatever x has
        assert support.mean_of_views().x == pytest.approx(mean, abs=1e-5)
        assert np.array_equal(support.x, bench.task(raw).supports[seed].x)


def test_who_needs_no_views_gets_none(viewed: Features) -> None:
    _, tasks, _ = run(viewed, ("image",))
    assert tasks[0].supports[0].views is None
    variants = [{"variant": "-", "params": {"needs": each}} for each in SETS]
    assert [cells.wants_views(Wants(), [one]) for one in variants] == [False, True]
    assert cells.wants_views(Wants(), variants)
