"""Gradients and scoring that a method writes out (`vjp`, `folded`) are what autograd and `logits` give, for every head.

The check of the contract does this for the defaults; here it is done for every combination that changes a head.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from methods import Replica, TowerMethod, TrainedMethod, TunedMethod
from methods.contract.adapted import AdaptedMethod
from methods.tools.problems import SHORT, as_needed, problem, seen
from methods.tools.registry import load
from workflow.lib.engine.training import Run

BUILT_IN = [entry.method for entry in load().methods.values() if issubclass(entry.method, TrainedMethod)]
WRITTEN = [method for method in BUILT_IN if method.vjp is not TrainedMethod.vjp]
SEEDS = (0, 1)


def heads(method: type[TrainedMethod]) -> list[dict[str, Any]]:
    """Every combination of the parameters that are a choice or a switch, with two values of each scalar."""
    choices = {
        name: [False, True] if isinstance(param.default, bool) else list(param.choices)
        for name, param in method.params.items()
        if isinstance(param.default, bool) or param.choices
    }
    choices |= {name: [method.params[name].default, 0.7] for name in method.scalars}
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


CASES = [(method, given) for method in WRITTEN for given in heads(method)]
NAMES = [f"{method.name}-{'-'.join(map(str, given.values()))}" for method, given in CASES]


def runs(method: type[TrainedMethod], given: dict[str, Any]) -> tuple[Run, Run]:
    """The method as it is, and with autograd and `logits` in place of what it writes out; both after a few steps."""
    derived = type(method.__name__, (method,), {"vjp": TrainedMethod.vjp, "folded": TrainedMethod.folded})
    short = {key: value for key, value in SHORT.items() if key in method.params}
    params = method.defaults(given) | given | short
    task = as_needed(method, problem(5, [6] * 5).task, Replica("v", params, 0))
    made = [Run(one(), task, [Replica("v", params, seed) for seed in SEEDS]) for one in (method, derived)]
    for run in made:
        run.advance(min(3, run.per_epoch))  # BatchNorm has moved its statistics, nothing is zero by chance
    return made[0], made[1]


def test_the_methods_that_write_something_out_are_known() -> None:
    assert {method.name for method in WRITTEN} >= {"attention_probe", "clip_adapter", "linear_probe", "cross_modal"}
    shared = [base.folded for base in (TrainedMethod, TowerMethod, TunedMethod, AdaptedMethod)]  # tests/towers
    folded = {method.name for method in BUILT_IN if method.folded not in shared}
    assert folded <= {method.name for method in WRITTEN}


@pytest.mark.parametrize(("method", "given"), CASES, ids=NAMES)
def test_gradients_by_hand_are_those_of_autograd(method: type[TrainedMethod], given: dict[str, Any]) -> None:
    ours, theirs = runs(method, given)
    x, y = next(ours.batches)
    found, expected = ours.gradients(x.clone(), y), theirs.gradients(x.clone(), y)
    assert list(found) == list(expected)
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize(("method", "given"), CASES, ids=NAMES)
def test_folded_scoring_is_that_of_logits(method: type[TrainedMethod], given: dict[str, Any]) -> None:
    ours, theirs = runs(method, given)
    at = problem(5, [6] * 5)
    queries = seen(at.task, method().needs(method.defaults(given) | given), at.queries)
    np.testing.assert_allclose(ours.logits(queries), theirs.logits(queries), rtol=1e-4, atol=1e-3)
