"""A method can't write into what others read, nor pass its own parameters off as those of the study."""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from methods.contract.base import Array, Candidate, Classifier, Replica, Support, Task
from tests.evaluation.test_cell import Means, bench, variants
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation.sealed import read_only, sealed
from workflow.lib.features.store import Features

Act = Callable[[Task, Replica], Any]


class Acts(Means):
    """Does something first, in its own fit, where the supports of all seeds are at hand."""

    def __init__(self, act: Act) -> None:
        self.act = act

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            self.act(task, replica)
            yield Candidate.of(replica, self.classifier(task, replica))


def write(array: Any) -> None:
    array[...] = 0


WRITES: dict[str, Act] = {
    "support": lambda task, replica: write(task.supports[replica.seed].x),
    "labels": lambda task, replica: write(task.supports[replica.seed].y),
    "text": lambda task, replica: write(task.class_text()),
    "another seed's support": lambda task, replica: np.negative(task.supports[1].x, out=task.supports[1].x),
}


@pytest.mark.parametrize("act", WRITES.values(), ids=WRITES)
def test_a_method_that_writes_into_its_inputs_fails_with_advice(features: Features, act: Act) -> None:
    with pytest.raises(ValueError, match="read-only") as raised:
        cells.evaluate(bench(features), Acts(act))
    notes = raised.value.__notes__
    assert notes == [
        "at variant '-', seed 0, the first without a result",
        "(what a method is given is read-only: it may work on a copy)",
    ]


def test_so_does_one_that_writes_into_the_queries(features: Features) -> None:
    class Rude(Means):
        def classifier(self, task: Task, replica: Replica) -> Classifier:
            classify = super().classifier(task, replica)

            def scaled(queries: Array) -> Array:
                queries *= 2
                return classify(queries)

            return scaled

    with pytest.raises(ValueError, match="read-only") as raised:
        cells.evaluate(bench(features), Rude())
    assert "at variant '-', seed 0, classifying" in raised.value.__notes__


def test_supports_are_not_exchanged(features: Features) -> None:
    def exchange(task: Task, replica: Replica) -> None:
        task.supports[0] = task.supports[1]  # type: ignore[index]

    with pytest.raises(TypeError, match="does not support item assignment"):
        cells.evaluate(bench(features), Acts(exchange))


def test_parameters_that_a_method_changes_are_told(features: Features) -> None:
    def change(task: Task, replica: Replica) -> None:
        replica.params["k"] = 5  # type: ignore[index]

    with pytest.raises(ValueError, match=r"variant 'k=1', seed 0: its params were changed from \{'k': 1\} to \{'k': 5"):
        cells.evaluate(bench(features, variants=variants(k=[1])), Acts(change))


def test_an_exit_says_where_it_was(features: Features) -> None:
    def leave(task: Task, replica: Replica) -> None:
        if replica.seed == 1:
            sys.exit("no licence")

    with pytest.raises(SystemExit) as raised:
        cells.evaluate(bench(features), Acts(leave))
    assert raised.value.__notes__ == ["at variant '-', seed 1, the first without a result"]


def test_torch_reads_what_is_read_only_without_a_warning(features: Features) -> None:
    import torch

    task = sealed(bench(features).task(raw=False))
    with warnings.catch_warnings(record=True) as said:
        sealed(task)  # pytest has filters of its own
        assert float(torch.from_numpy(task.supports[0].x).sum()) == pytest.approx(float(task.supports[0].x.sum()))
    assert said == []


def test_it_is_the_same_memory_and_the_owner_may_write() -> None:
    rows = np.ones((3, 2), np.float32)
    support = Support(rows, np.zeros(3, np.int64), rows[:, None])
    task = sealed(Task({0: support}, ["a"], "3", text=rows))
    assert all(np.shares_memory(rows, array) for array in (task.supports[0].x, task.supports[0].views, task.text))
    rows[0] = 2
    assert task.supports[0].x[0].tolist() == [2, 2]
    assert sealed(replace(task, text=None)).text is None
    assert read_only("not an array") == "not an array"
