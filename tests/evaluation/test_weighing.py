"""What a cell says of the size of its classifiers, against what is shipped of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from methods import Candidate, Method, Replica, Task
from methods.contract.exporting import CannotShipError
from methods.contract.needs import arrays
from methods.tools.problems import SHORT, as_needed, problem
from methods.tools.registry import load
from workflow.lib.evaluation import weighing

BUILT_IN = {name: entry.method for name, entry in load().methods.items() if entry.where == "built-in"}
# With its own b it begins as a rotation, which is linear, and on these few images it stays one.
FAR = {"lfa": {"b": 0.5}}


class Crooked(Method):
    """Not linear, and nobody says what it is as data."""

    name = "crooked"

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            yield Candidate.of(replica, lambda queries: (queries @ task.class_text().T) ** 2)


class Failing(Crooked):
    """Knows what it is asked about in a cell, and nothing else."""

    name = "failing"

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            yield Candidate.of(replica, lambda queries: 1 / 0)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_classifier_weighs_what_is_shipped_of_it(name: str) -> None:
    """Before it has learned, where it is trained; at the first point of its grid, where it has one."""
    method, at = BUILT_IN[name](), problem(5, [4] * 5)
    few = {key: SHORT[key] for key in SHORT.keys() & method.params.keys()}
    one = Replica("-", method.defaults({}) | few | FAR.get(name, {}), 0)
    task = as_needed(type(method), at.task, one)
    try:
        shipped = weighing.size(method.export(task, one))
    except CannotShipError:
        shipped = None
    if method.engine:
        assert weighing.of_head(method, task, one.params) == shipped
    elif not arrays(method.needs(one.params)):  # with an array beside the embeddings a cell doesn't ask
        first = next(iter(method.fit(replace(task, choosing=True), [one])))
        assert weighing.of_candidate(first, task.supports[0].x) == shipped


@pytest.mark.parametrize("method", [Crooked(), Failing()])
def test_what_cannot_be_shipped_has_no_weight_and_does_no_harm(method: Method) -> None:
    at = problem(5, [4] * 5)
    (found,) = method.fit(at.task, [Replica("-", {}, 0)])
    assert weighing.of_candidate(found, at.task.supports[0].x) is None
