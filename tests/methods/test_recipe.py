"""A recipe refuses what does not exist and what does not go together; what a study sets reaches it."""

from typing import Any

import pytest

from methods import Recipe, Replica, TrainedMethod
from methods.tools.problems import as_needed, problem, settings
from methods.tools.registry import load

GIVEN: dict[str, Any] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.01, "epochs": 10, "batch_size": 32}
LBFGS = {"optimizer": "lbfgs", "batch_size": 0}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "optimizer": (
        {"optimizer": "l-bfgs"},
        "a recipe's optimizer: found 'l-bfgs', allowed: one of adamw, adam, sgd, lbfgs; did you mean 'lbfgs'?",
    ),
    "schedule": (
        {"schedule": "steps"},
        "a recipe's schedule: found 'steps', allowed: one of constant, cosine, epoch cosine, linear, step;"
        " did you mean 'step'?",
    ),
    "views": ({"views": "all"}, "a recipe's views: found 'all', allowed: one of '', random, in_turn"),
    "label smoothing": (
        {"label_smoothing": 1.0},
        "a recipe's label_smoothing: found 1.0, allowed: a number ≥ 0 and < 1",
    ),
    "average": ({"ema": -0.1}, "a recipe's ema: found -0.1, allowed: a number ≥ 0 and < 1"),
    "mixup": ({"mixup": float("nan")}, "a recipe's mixup: found nan, allowed: a number ≥ 0"),
    "floor": ({"floor": 0.01}, "a recipe's floor: found 0.01, allowed: a number from 0 to its rate, 0.001"),
    "step without milestones": (
        {"schedule": "step"},
        "a recipe's schedule 'step' and its `milestones`, epochs, go together: one is missing",
    ),
    "milestones without step": (
        {"milestones": (3,)},
        "a recipe's schedule 'step' and its `milestones`, epochs, go together: one is missing",
    ),
    "batches for lbfgs": (
        {"optimizer": "lbfgs"},
        "lbfgs takes the whole support at each step: batch_size is 0, not 32",
    ),
    "a schedule for lbfgs": (
        LBFGS | {"schedule": "cosine", "warmup": 3},
        "lbfgs searches along a line of one loss: it goes with no schedule, warmup",
    ),
    "another loss at each step of lbfgs": (
        LBFGS | {"mixup": 0.2, "views": "random", "rates": {"a": 2.0}},
        "lbfgs searches along a line of one loss: it goes with no rates, mixup, views",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    changes, text = REFUSED[name]
    with pytest.raises(ValueError, match=r".") as caught:
        Recipe(**(GIVEN | changes))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "step", "milestones": (3, 6)},
        {"mixup": 0.2, "label_smoothing": 0.1, "ema": 0.99, "views": "in_turn"},
        LBFGS | {"label_smoothing": 0.1, "ema": 0.5},
    ],
)
def test_allowed(changes: dict[str, Any]) -> None:
    Recipe(**(GIVEN | changes))


TRAINED = [entry.method for entry in load().methods.values() if issubclass(entry.method, TrainedMethod)]
SET = {"lr": 0.0123, "weight_decay": 0.0456, "epochs": 7, "steps": 11, "warmup": 3, "warmup_lr": 0.00789}


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)
def test_what_a_study_sets_reaches_the_recipe(method: type[TrainedMethod]) -> None:
    """With every choice and switch; of a batch each source has its share."""
    given = {name: value for name, value in SET.items() if name in method.params}
    for values in settings(method):
        params = dict(values) | given | ({"batch_size": 10} if "batch_size" in method.params else {})
        who = Replica("-", params, 0)
        task = as_needed(method, problem(5, [4] * 5).task, who)
        recipe = method().recipe(task, params)
        assert {name: getattr(recipe, name) for name in given} == given
        if "batch_size" in params:
            assert recipe.batch_size == 10 / len(method().sources(task, who))
