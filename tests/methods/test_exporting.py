"""A fitted classifier as data: every method's gives the same logits, and what can't be written down says so."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from methods import Array, Classifier, GridMethod, Method, Param, Params, Replica, Task, TrainedMethod, training
from methods.ape import AdaptivePriorRefinement
from methods.attention_probe import AttentionProbe
from methods.clip_adapter import ClipAdapter
from methods.contract.exporting import CannotShipError
from methods.contract.needs import unshippable
from methods.contract.program import Program, Writer, linear
from methods.knn import NearestNeighbours
from methods.proker import ProximalKernel
from methods.tip_adapter import TipAdapter
from methods.tip_adapter_f import TipAdapterF
from methods.tools.problems import SHORT, as_needed, problem, scores, settings
from methods.tools.registry import load

BUILT_IN = {name: entry.method for name, entry in load().methods.items() if entry.where == "built-in"}
CASES = [
    pytest.param(method, values, id=f"{name} {number}")
    for name, method in BUILT_IN.items()
    for number, values in enumerate(settings(method))
]
# Methods whose classifier is no matrix, and that have a program for it.
CURVED = {
    method.name
    for method in (
        AdaptivePriorRefinement,
        AttentionProbe,
        ClipAdapter,
        NearestNeighbours,
        ProximalKernel,
        TipAdapter,
        TipAdapterF,
    )
}


def exported(method: type[Method], values: Mapping[str, Any]) -> tuple[Program, np.ndarray, np.ndarray]:
    """The program of a fit, queries as it takes them, and the logits of another fit like it."""
    at = problem(5, [4] * 5)
    cut = {key: value for key, value in SHORT.items() if key in method.params}
    one = Replica("-", dict(values) | cut, 0)
    task = as_needed(method, at.task, one)
    program = method().export(task, one)
    return program, method().as_shipped(task, one.params, program, at.queries), scores(method, at, [one])[0]


@pytest.mark.parametrize(("method", "values"), CASES)
def test_what_is_shipped_of_a_built_in_method_gives_its_logits(method: type[Method], values: Params) -> None:
    try:
        program, queries, expected = exported(method, values)
    except CannotShipError:
        beside = unshippable(method().needs(values))  # an image is seen through its tower alone
        assert beside or "export" in vars(method), "a method that can't be shipped says why by itself"
        return
    program.check()
    assert np.abs(program(queries) - expected).max() < 1e-4 * max(1.0, np.abs(expected).max() / 20)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_linear_classifier_becomes_one_matrix(name: str) -> None:
    method = BUILT_IN[name]
    try:
        program, _, _ = exported(method, method.defaults({}))
    except CannotShipError:
        return
    if name not in CURVED and len(program.steps) == 1:
        assert [operation for _, operation, _ in program.steps] == ["linear"]
        expected = {(16, 5)} if program.tower else {(16, 5), (5,)}
        assert {array.shape for array in program.arrays.values()} == expected
    else:
        assert len(program.steps) > 1


def test_methods_that_are_linear_are_known_to_be() -> None:
    known = {"clap", "cross_modal", "gda", "linear_probe", "linear_svm", "logistic_regression", "lp_pp", "nearest_mean"}
    for name in known | {"ridge", "ss_text", "taskres", "zero_shot"}:
        program, _, _ = exported(BUILT_IN[name], BUILT_IN[name].defaults({}))
        assert len(program.steps) == 1, name


class Curved(Method):
    """The square of the cosine, of which it says nothing."""

    name = "curved"

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        means = task.supports[replica.seed].one_hot(task.classes).T @ task.supports[replica.seed].x
        return lambda queries: (queries @ means.T) ** 2


class Wrong(GridMethod):
    """Curved, with a program that is another classifier."""

    name = "wrong"
    params = {"power": Param(2.0, "power of the cosine", above=0)}
    grid = {"power": [2.0]}

    def prepare(self, task: Task, replica: Replica) -> Any:
        means = task.supports[replica.seed].one_hot(task.classes).T @ task.supports[replica.seed].x
        return lambda queries, power: np.abs(queries @ means.T) ** power

    def program(self, task: Task, replica: Replica, point: Mapping[str, float]) -> Program:
        return linear(np.ones((task.dim, task.classes), np.float32), np.zeros(task.classes, np.float32))


def test_a_classifier_that_is_not_linear_and_has_no_program_is_refused() -> None:
    with pytest.raises(CannotShipError, match="not linear in the image's features: override `export`"):
        exported(Curved, {})


def test_a_program_that_is_not_the_classifier_is_refused() -> None:
    with pytest.raises(CannotShipError, match="has other logits than its classifier"):
        exported(Wrong, {"power": 2.0})


class Trained(TrainedMethod):
    """A head of many kinds of layers."""

    name = "trained"
    params = training(lr=1e-2, epochs=3, batch_size=8)

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {
            "body": nn.Sequential(
                nn.BatchNorm1d(task.dim),
                nn.Linear(task.dim, 12),
                nn.GELU(),
                nn.Dropout(0.2),
                nn.Linear(12, 12),
                nn.SiLU(),
            ),
            "classifier": nn.Linear(12, task.classes),
        }

    def logits(self, head: Any, x: Array) -> Array:
        inner = head.body(x)
        inner = inner / (inner.square().sum(-1, keepdim=True) + 1).sqrt()
        return head.classifier(inner).log_softmax(-1) * 3 - inner.mean(-1, keepdim=True).tanh()


class Tokens(Trained):
    """A head that makes several rows of an image."""

    def logits(self, head: Any, x: Array) -> Array:
        inner = head.body(x)
        tokens = inner.unflatten(-1, (3, 4))
        return head.classifier((tokens * tokens.softmax(-2)).flatten(-2))


class Rounds(Trained):
    """A head with an operation that programs don't have."""

    def logits(self, head: Any, x: Array) -> Array:
        return head.classifier(head.body(x).cos())


def test_a_trained_head_of_a_plugin_is_shipped_without_a_word_of_its_author() -> None:
    program, queries, expected = exported(Trained, Trained.defaults({}))
    assert np.abs(program(queries) - expected).max() < 1e-4
    assert program(queries[:1]).shape == (1, 5)


def test_a_head_with_more_than_a_row_for_an_image_is_refused() -> None:
    with pytest.raises(CannotShipError, match="more of an image than a row of numbers"):
        exported(Tokens, Trained.defaults({}))


def test_a_head_with_an_unknown_operation_is_refused_by_its_name() -> None:
    with pytest.raises(CannotShipError, match="its head uses cos, which a program doesn't have"):
        exported(Rounds, Trained.defaults({}))


def test_the_candidate_at_a_point_is_shipped() -> None:
    at = problem(5, [4] * 5)
    method = BUILT_IN["linear_probe"]
    one = Replica("-", method.defaults({}) | {"epochs": 6}, 0)
    task = as_needed(method, at.task, one)
    early = method().export(task, one, {"epoch": 3})
    candidates = {c.point["epoch"]: np.asarray(c.logits(at.queries))[0].copy() for c in method().fit(task, [one])}
    assert np.abs(early(at.queries) - candidates[3]).max() < 1e-5
    assert np.abs(early(at.queries) - candidates[6]).max() > 1e-3
    with pytest.raises(ValueError, match=r"no candidate at \{'epoch': 7\}"):
        method().export(task, one, {"epoch": 7})


def test_a_program_with_an_unknown_operation_or_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no operation 'system'; allowed: linear"):
        Program([("y", "system", ("x",))], {}, "y").check()
    with pytest.raises(ValueError, match="y is of 'z', which nothing gives"):
        Program([("y", "exp", ("z",))], {}, "y").check()
    with pytest.raises(ValueError, match="the output is 'z'"):
        Program([("y", "exp", ("x",))], {}, "z").check()


def test_an_operation_goes_before_a_program() -> None:
    write = Writer()
    program = write.program(write("add", write("multiply", "x", 2.0), np.ones(3)))
    x = np.array([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]], np.float32)
    assert np.allclose(program.after("unit")(x), [[2.2, 1.0, 2.6], [1.0, 1.0, 1.0]])
    assert np.allclose(Program([], {}, "x").after("unit")(x)[0], [0.6, 0, 0.8])
