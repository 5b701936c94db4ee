"""Needs: a method runs on the features that have what it asks for, and is told why where they don't."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods import Classifier, Method, Params, Projection, Replica, Task, unit
from methods.contract.needs import VECTORS
from methods.tools.stand_in import MadeEncoder, MadeModel
from tests.samples import make_features
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import needs
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.features import arrays
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
        return lambda queries: queries[:] @ means.T


def run(
    features: Features, *wanted: tuple[str, ...], encoder: Any = "", model: Any = "", **params: Any
) -> tuple[list[cells.Result], list[Task], Bench]:
    """A cell with a variant for each set of needs."""
    variants = [{"variant": "+".join(each), "params": {"needs": each, **params}} for each in wanted]
    cell = Cell("trial", "shapes", "tiny", "mine", "wants", "2", 2, "test", "last", variants)
    bench, method = Bench(cell, features, "cpu", 1, lambda line: None, encoder=encoder, model=model), Wants()
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
        ("text_encoder", "needs text_encoder, which these features don't have"),
        ("model", "needs model, which these features don't have"),
        ("pixels", "needs pixels, which these features don't have"),
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
    assert needs.met(features) == {"image", "text", "text_each"}
    assert needs.met(viewed) == {"image", "text", "text_each", "views"}
    assert needs.met(make_features(text=False)) == {"image"}


def test_the_text_tower_is_met_where_it_is_there_and_goes_to_those_who_need_it(features: Features) -> None:
    tower = MadeEncoder(np.eye(4, dtype=np.float32), ["0", "1", "2", "3"])
    assert needs.met(features, tower) == needs.met(features) | {"text_encoder", "text_blocks"}
    (one, other), tasks, _ = run(features, ("image", "text_encoder"), ("image",), encoder=tower)
    assert (one.reason, other.reason) == ("", "")
    assert tasks[0].text_encoder() is tower
    (plain,), tasks, _ = run(features, ("image",), encoder=tower)
    assert (plain.reason, tasks[0].encoder) == ("", None)


def test_without_a_text_tower_the_cell_is_n_a_with_the_reason_for_it(features: Features) -> None:
    (refused,), tasks, _ = run(features, ("image", "text_encoder"), encoder="they come without a model")
    assert refused.reason == "needs text_encoder, which these features don't have: they come without a model"
    assert tasks == []


def test_the_model_goes_to_those_who_need_it_and_else_the_cell_says_why_there_is_none(features: Features) -> None:
    towers = MadeModel(np.eye(4, dtype=np.float32))
    (given,), tasks, _ = run(features, ("image", "model"), model=towers)
    assert given.reason == ""
    assert tasks[0].loaded_model() is towers
    _, tasks, _ = run(features, ("image",), model=towers)
    with pytest.raises(ValueError, match="must name `model` in its needs"):
        tasks[0].loaded_model()
    (refused,), _, _ = run(features, ("image", "model", "text_encoder"), model="no", encoder="no")
    assert refused.reason == "needs model, text_encoder, which these features don't have: no"


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
    assert ["views" in cells.needed(Wants(), [one]) for one in variants] == [False, True]
    assert "views" in cells.needed(Wants(), variants)


# --- arrays beside the features ---------------------------------------------------------------------------------------


@pytest.fixture
def beside(features: Features) -> Features:
    """Features with both arrays."""
    rng, (dim, classes) = np.random.default_rng(4), (features.splits["train"].x.shape[1], len(features.classnames))
    for name, shape in (("pre", (11,)), ("spatial_logits", (2, classes))):
        rows = {
            key: rng.normal(size=(len(split.y), *shape)).astype(np.float32) for key, split in features.splits.items()
        }
        last = Projection(rng.normal(size=(11, dim)).astype(np.float32), np.ones(dim, np.float32))
        made = arrays.Array(name, rows, features.metadata, projection=last if name == "pre" else None)
        features = arrays.added(features, made, "here")
    return features


def test_who_needs_pre_sees_images_before_the_projection(beside: Features) -> None:
    (before, pooled), tasks, bench = run(beside, ("image", "pre"), ("image",))
    assert (before.reason, pooled.reason) == ("", "")
    assert (before.size, pooled.size) == (None, 4 * (8 + 1) * 4)  # bytes of what can be shipped: it sees embeddings
    by_width = {task.dim: task for task in tasks}
    assert set(by_width) == {11, beside.splits["train"].x.shape[1]}
    assert np.array_equal(by_width[11].supports[1].x, beside.splits["train"].pre[bench.rows[1]])
    assert (by_width[11].last_layer(), by_width[8].projection) == (beside.projection, None)
    assert bench.task(False, {"pre"}).supports[0].views is None


def test_views_before_the_projection_go_with_pre_as_they_are(beside: Features) -> None:
    rng, count = np.random.default_rng(5), len(beside.splits["train"].y)
    pooled, before = (rng.normal(size=(count, 2, width)).astype(np.float32) for width in (8, 11))
    viewed = replace(beside, train_views=pooled, views_pre=before)
    (result,), tasks, bench = run(viewed, ("image", "pre", "views"))
    assert result.reason == ""
    for seed, rows in bench.rows.items():
        assert np.array_equal(tasks[seed].supports[seed].views, before[rows])
        assert np.array_equal(bench.task(False, {"views"}).supports[seed].views, unit(pooled[rows]))


def test_who_needs_spatial_logits_sees_them_beside_the_unit_embedding(beside: Features) -> None:
    (result,), tasks, bench = run(beside, ("image", "text", "spatial_logits"))
    assert result.reason == ""
    train, rows = beside.splits["train"], bench.rows[0]
    x, first, second = tasks[0].tokens_apart(tasks[0].supports[0].x)
    assert np.array_equal(x, unit(train.x[rows]))
    assert np.array_equal(np.stack([first, second], 1), train.spatial_logits[rows])


@pytest.mark.parametrize("name", ["pixels", "blocks2"])
def test_who_needs_images_sees_them_flat_and_the_queries_are_read_slice_by_slice(features: Features, name: str) -> None:
    rng, held, kind = np.random.default_rng(1), {}, np.uint8 if name == "pixels" else np.float32
    for split, part in features.splits.items():
        held[split] = rng.integers(256, size=(len(part.y), 2, 5, 3)).astype(kind)
    made = arrays.added(features, arrays.Array(name, held, features.metadata), "here")
    assert needs.met(made) == needs.met(features) | {name}
    (result,), tasks, bench = run(made, ("image", name))
    assert result.reason == ""
    support = tasks[0].supports[0]
    assert np.array_equal(support.x, held["train"][bench.rows[0]].reshape(len(support.y), -1))
    assert support.x.dtype == held["train"].dtype
    queries = bench._queries("test", False, {name}).x
    assert not isinstance(queries, np.ndarray)
    assert (len(queries), queries.shape) == (36, (36, 30))
    assert np.array_equal(queries[3:9], held["test"][3:9].reshape(6, -1))


def test_a_support_of_no_images_has_no_arrays_and_the_right_widths(beside: Features) -> None:
    cell = Cell("trial", "shapes", "tiny", "mine", "wants", "0", 1, "test", "last", [])
    bench = Bench(cell, beside, "cpu", 1, lambda line: None)
    assert [bench.task(False, [need]).supports[0].x.shape for need in VECTORS] == [(0, 11), (0, 8 + 2 * 4)]


def test_prompts_one_by_one_are_unit_and_for_those_who_need_them(features: Features) -> None:
    _, tasks, _ = run(features, ("image", "text_each"))
    assert np.array_equal(tasks[0].each_text(), unit(features.text))
    assert run(features, ("image", "text"))[1][0].text_each is None


def test_an_array_that_could_not_be_made_is_the_reason(features: Features) -> None:
    lacking = replace(features, lacking={"pre": "its tower has none"})
    (refused,), _, _ = run(lacking, ("image", "pre"))
    assert refused.reason == "needs pre, which these features don't have: its tower has none"
    elsewhere = replace(make_features(), metadata=ELSEWHERE)
    (refused,), _, _ = run(elsewhere, ("image", "text_each"))
    assert "put text_each_x (K, P, D)" in refused.reason


def test_a_task_without_what_was_not_asked_for_says_what_to_name(features: Features) -> None:
    _, tasks, _ = run(features, ("image",))
    for ask, need in ((tasks[0].each_text, "text_each"), (tasks[0].last_layer, "pre")):
        with pytest.raises(ValueError, match=f"the method must name `{need}` in its needs"):
            ask()
