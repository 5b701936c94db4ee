"""Properties of what a method answers: shapes, numbers, independence of order and of company, sizes, usefulness."""

from dataclasses import replace
from typing import Any

import numpy as np

from methods.contract.base import Method
from methods.contract.exporting import CannotShipError
from methods.contract.trained import TrainedMethod
from methods.tools.problems import (
    SHOTS,
    TOLERANCE,
    ContractError,
    Problem,
    arrays,
    as_needed,
    problem,
    replicas,
    same,
    scores,
    seen,
)
from methods.tools.stand_in import MadeEncoder, MadeModel
from workflow.lib.evaluation import scoring


def shapes(method: type[Method]) -> None:
    """logits of shape (replicas, queries, classes), floating point, one candidate or more for every replica"""
    at = problem(5, [SHOTS] * 5)
    scores(method, at, replicas(method))


def finite(method: type[Method]) -> None:
    """no NaN and no infinity"""
    at = problem(5, [SHOTS] * 5)
    if not all(np.isfinite(one).all() for one in scores(method, at, replicas(method))):
        raise ContractError("expected finite logits, found NaN or infinity")


def no_probabilities(method: type[Method]) -> None:
    """logits are no probabilities, of which NLL and ECE would be those of another classifier"""
    at = problem(5, [SHOTS] * 5)
    if any(scoring.are_probabilities(one) for one in scores(method, at, replicas(method))):
        found = "found rows between 0 and 1 that sum to 1: their logarithms are logits"
        raise ContractError(f"expected logits, of which the evaluator takes the softmax; {found}")


def repeatable(method: type[Method]) -> None:
    """the same seed gives the same logits"""
    at = problem(5, [SHOTS] * 5)
    same(
        scores(method, at, replicas(method)), scores(method, at, replicas(method)), "the same logits from the same seed"
    )


def one_query_at_a_time(method: type[Method]) -> None:
    """a query's logits don't depend on the other queries, nor on their order"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)[:1]
    whole = scores(method, at, who)[0]
    turned = scores(method, at, who, np.ascontiguousarray(at.queries[::-1]))[0][::-1]
    same([whole], [turned], "the order of queries not to matter")
    single = scores(method, at, who, at.queries[3:4])[0]
    same([whole[3:4]], [single], "one query alone to get the logits that it gets in a batch")


def by_hand(method: type[Method]) -> None:
    """what is written out by hand (`vjp`, `folded`, `compiled`) gives what `logits` gives"""
    if not issubclass(method, TrainedMethod):
        return
    from workflow.lib.engine.training import Run

    derived = type(method.__name__, (method,), {"vjp": TrainedMethod.vjp, "folded": TrainedMethod.folded})
    at, who = problem(5, [SHOTS] * 5), replicas(method)
    task, queries = as_needed(method, at.task, who[0]), seen(at.task, method().needs(who[0].params), at.queries)
    ours, theirs = (Run(one(), task, who) for one in (method, derived))
    if method.compiled:
        for run in (ours, theirs):
            run.advance(run.per_epoch)
        expected_logits, found_logits = (list(run.logits(queries).numpy()) for run in (theirs, ours))
        same(expected_logits, found_logits, "an epoch of what is `compiled` to train what `logits` says")
    found, expected = (run.gradients(*next(run.batches)) for run in (ours, theirs))
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        if not float((found[name] - gradient).abs().max()) <= TOLERANCE * largest:
            raise ContractError(f"expected `vjp` to agree with `logits`; found gradients of {name} that differ")
    same(list(theirs.logits(queries).numpy()), list(ours.logits(queries).numpy()), "`folded` to equal `logits`")


def shipped(method: type[Method]) -> None:
    """what is shipped of it gives the logits of the fitted classifier, or it says why it can't be shipped"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)[0]
    try:
        task = as_needed(method, at.task, who)
        program = method().export(task, who)
        queries = method().as_shipped(task, who.params, program, seen(task, method().needs(who.params), at.queries))
    except CannotShipError:
        return
    same(scores(method, at, [who]), [program(queries)], "what is shipped to give the logits of the fitted classifier")


def classes_permuted(method: type[Method]) -> None:
    """permuting the classes permutes the logits; with random numbers per class, the accuracy stays close"""
    at, who = problem(6, [SHOTS] * 6), replicas(method, short=not method.random_per_class)
    order = np.array([3, 0, 5, 1, 4, 2])  # new class j is old class order[j]
    rank = np.argsort(order)
    supports = {seed: replace(one, y=rank[one.y]) for seed, one in at.task.supports.items()}
    texts: dict[str, Any] = {name: array[order] for name, array in arrays(at.task).items()}
    names = [at.task.classnames[k] for k in order]
    text = at.task.class_text()
    towers: dict[str, Any] = {"encoder": MadeEncoder(text, names), "model": MadeModel(text[order])}
    task = replace(at.task, supports=supports, classnames=names, **towers, **texts)
    before, after = scores(method, at, who), scores(method, Problem(task, at.queries, at.labels), who)
    if not method.random_per_class:
        same([one[:, order] for one in before], after, "permuted classes to permute the logits")
        return
    old = np.mean([(one.argmax(1) == at.labels).mean() for one in before])
    new = np.mean([(one.argmax(1) == rank[at.labels]).mean() for one in after])
    if abs(old - new) > 0.2:
        raise ContractError(f"expected about the same accuracy with permuted classes, found {old:.2f} and {new:.2f}")


def sizes(method: type[Method]) -> None:
    """two classes, a hundred, one shot, unbalanced classes"""
    cases = {
        "two classes": problem(2, [SHOTS] * 2),
        "100 classes": problem(100, [2] * 100),
        "one shot": problem(5, [1] * 5),
        "unbalanced classes": problem(4, [1, 2, 7, 31]),
    }
    for name, at in cases.items():
        try:
            found = scores(method, at, replicas(method))
        except Exception as error:
            raise ContractError(f"expected it to work with {name}, found {type(error).__name__}: {error}") from error
        if not all(np.isfinite(one).all() for one in found):
            raise ContractError(f"expected finite logits with {name}, found NaN or infinity")


def better_than_chance(method: type[Method]) -> None:
    """at least twice chance on an easy problem"""
    at = problem(5, [40] * 5, noise=0.4)
    found = scores(method, at, replicas(method, short=False))
    accuracy = float(np.mean([(one.argmax(1) == at.labels).mean() for one in found]))
    if accuracy < 0.4:
        raise ContractError(f"expected an accuracy of at least 0.40 where chance is 0.20, found {accuracy:.2f}")
