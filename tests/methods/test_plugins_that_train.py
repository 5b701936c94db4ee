"""A plugin for each ability of `TrainedMethod`, as its author would write it, keeps the contract."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from methods import Array, Params, Recipe, Replica, Task, TrainedMethod, training
from methods.tools.check import ContractError, check, verdicts
from methods.tools.problems import problem, replicas, scores


class Base(TrainedMethod):
    """`s f T^T + W f` with W at zero: permuted classes permute the logits."""

    name = "able"
    params = training(lr=1e-2, epochs=20, weight_decay=0.0, batch_size=8)
    changes: Mapping[str, Any] = {}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        linear = nn.Linear(task.dim, task.classes, bias=False)
        nn.init.zeros_(linear.weight)
        return {"linear": linear, "text": task.logit_scale * task.class_text()}

    def logits(self, head: Any, x: Array) -> Array:
        return x @ head.text.mT + head.linear(x)

    def recipe(self, task: Task, params: Params) -> Recipe:
        return replace(super().recipe(task, params), **self.changes)


class Smoothed(Base):
    changes = {"label_smoothing": 0.1}


class Mixed(Base):
    changes = {"mixup": 0.3}


class Averaged(Base):
    changes = {"ema": 0.9}


class Linear(Base):
    changes = {"schedule": "linear"}


class Stepped(Base):
    changes = {"schedule": "step", "milestones": (2,)}


class Newton(Base):
    params = training(lr=1.0, epochs=20, weight_decay=0.1, batch_size=0)
    changes = {"optimizer": "lbfgs"}


class OfViews(Base):
    changes = {"views": "random"}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "views"})


class Dropped(Base):
    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {**super().head(nn, task, replica), "drop": nn.Dropout(0.3)}

    def logits(self, head: Any, x: Array) -> Array:
        return x @ head.text.mT + head.linear(head.drop(x))


class Focal(Base):
    params = {**Base.params, "gamma": training(1.0, 1)["lr"]}
    scalars = ("gamma",)

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array:
        own = logits.log_softmax(-1).gather(-1, labels[..., None])
        return -((1 - own.exp()) ** head.gamma * own).mean((1, 2))


class Attentive(Base):
    """The image attends to the class texts, through PyTorch's own attention, which drops some of them."""

    random_per_class = True

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        attention = nn.MultiheadAttention(task.dim, 2, dropout=0.1, batch_first=True)
        return {**super().head(nn, task, replica), "attention": attention, "keys": task.class_text()}

    def logits(self, head: Any, x: Array) -> Array:
        keys = head.keys.expand(*x.shape[:-1], *head.keys.shape)
        attended, _ = head.attention(x[..., None, :], keys, keys)
        return x @ head.text.mT + head.linear(x + attended[..., 0, :])


class WeightNorm(Base):
    random_per_class = True

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        linear = nn.utils.parametrizations.weight_norm(nn.Linear(task.dim, task.classes))
        return {**super().head(nn, task, replica), "linear": linear}


ABLE = [Smoothed, Mixed, Averaged, Linear, Stepped, Newton, OfViews, Dropped, Focal, Attentive, WeightNorm]


@pytest.mark.parametrize("method", ABLE, ids=lambda method: method.__name__)
def test_it_keeps_the_contract(method: type[TrainedMethod]) -> None:
    check(method)


@pytest.mark.parametrize("method", ABLE, ids=lambda method: method.__name__)
def test_it_is_not_what_it_is_without(method: type[TrainedMethod]) -> None:
    at, who = problem(5, [4] * 5), replicas(Base)
    own = [Replica(one.variant, method.defaults({}) | {"epochs": 4}, one.seed) for one in who]
    assert abs(scores(method, at, own)[0] - scores(Base, at, who)[0]).max() > 1e-3


def test_a_recipe_with_a_name_that_does_not_exist_fails_the_check_by_that_name() -> None:
    class Misspelt(Base):
        changes = {"schedule": "cosin"}

    with pytest.raises(ContractError, match=r"found 'cosin', allowed: one of .*; did you mean 'cosine'"):
        check(Misspelt)

    class Astray(Base):
        changes = {"rates": {"liner": 3.0}}

    assert "did you mean 'linear'?" in next(one.failure for one in verdicts(Astray) if one.failure)


def test_random_numbers_from_elsewhere_than_a_layer_fail_the_check() -> None:
    class Global(Base):
        def logits(self, head: Any, x: Array) -> Array:
            import torch

            return super().logits(head, torch.nn.functional.dropout(x, 0.3))

    with pytest.raises(ContractError, match="repeatable"):
        check(Global)
