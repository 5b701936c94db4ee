"""A check of the contract that every method keeps, for plugin authors: `check(MyMethod)` in a test of their own.

Each property is a function that raises ContractError with what was expected and what was found. The problems are small,
and a parameter `epochs` or `steps` is cut short, so that a trained method takes seconds.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Candidate, Floats, Labels, Method, Replica, Support, Task, unit
from methods.contract.trained import TrainedMethod
from workflow.lib.evaluation import engines

DIM, SEEDS, SHOTS, QUERIES = 16, (0, 1), 4, 40
SHORT = {"epochs": 4, "steps": 8}
TOLERANCE = 2e-3  # of logits, relative to their spread: float32 sums in another order, solvers that stop early


class ContractError(AssertionError):
    """A method does not keep its contract: what was expected, and what was found."""


@dataclass(frozen=True)
class Verdict:
    """One property: whether it holds, and if not, why. `skipped` where an earlier failure leaves nothing to test."""

    name: str
    meaning: str
    failure: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class Problem:
    """A made classification problem: the task, queries `(M, D)` and their labels `(M,)`."""

    task: Task
    queries: Floats
    labels: Labels


def problem(classes: int, counts: Sequence[int], noise: float = 0.6, names: Sequence[str] | None = None) -> Problem:
    """Unit vectors around random centres, `counts[k]` of class k in each support; the text lies near the centres.

    Each image has two views, near the same centre.
    """
    rng = np.random.default_rng(7)
    centres = unit(rng.normal(size=(classes, DIM)))
    labels = np.repeat(np.arange(classes), counts)

    def near(y: Labels) -> Floats:
        return unit(centres[y] + noise / DIM**0.5 * rng.normal(size=(*y.shape, DIM))).astype(np.float32)

    supports = {seed: Support(near(labels), labels) for seed in SEEDS}
    answers = rng.integers(classes, size=QUERIES)
    text = near(np.arange(classes))
    queries = near(answers)
    supports = {seed: replace(one, views=near(np.stack([one.y] * 2, 1))) for seed, one in supports.items()}
    task = Task(
        supports,
        list(names or map(str, range(classes))),
        str(max(counts)),
        text,
        logit_scale=20.0,
        engine=engines.engine(TrainedMethod),
        text_raw=(text * rng.uniform(8, 12, size=(classes, 1))).astype(np.float32),
    )
    return Problem(task, queries, answers)


def replicas(method: type[Method], short: bool = True) -> list[Replica]:
    """The default variant with every seed, trained briefly."""
    cut = {key: value for key, value in SHORT.items() if key in method.params} if short else {}
    return [Replica("-", _params(method) | cut, seed) for seed in SEEDS if method.learns or seed == SEEDS[0]]


def _params(method: type[Method]) -> dict[str, object]:
    return dict(sorted(method.defaults({}).items()))


def scores(method: type[Method], at: Problem, who: Sequence[Replica], queries: Floats | None = None) -> list[Floats]:
    """The default candidate's logits `(M, K)` of each replica.

    Raises ContractError for what is no array of that shape, and for a replica without a candidate.
    """
    asked = at.queries if queries is None else queries
    last: dict[Replica, Floats] = {}
    for candidate in method().fit(at.task, who):
        last |= dict(zip(candidate.replicas, _logits(candidate, asked, at.task.classes), strict=True))
    missing = [str(replica) for replica in who if replica not in last]
    if missing:
        raise ContractError(f"expected a candidate for every replica, found none for {missing[0]}")
    return [last[replica] for replica in who]


def _logits(candidate: Candidate, queries: Floats, classes: int) -> Floats:
    found = candidate.logits(queries)
    array = found if isinstance(found, np.ndarray) else found.detach().cpu().numpy()
    expected = (len(candidate.replicas), len(queries), classes)
    if array.shape != expected or array.dtype.kind != "f":
        raise ContractError(f"expected floating-point logits of shape {expected}, found {array.dtype} of {array.shape}")
    return array.astype(np.float32).copy()


def _same(a: Sequence[Floats], b: Sequence[Floats], expectation: str) -> None:
    """Raise ContractError unless the logits agree to rounding, relative to their spread."""
    for one, other in zip(a, b, strict=True):
        gap = float(np.abs(one - other).max() / (one.std() + 1e-6))
        if not gap <= TOLERANCE:
            raise ContractError(f"expected {expectation}; found logits that differ by {gap:.2g} of their spread")


def shapes(method: type[Method]) -> None:
    """logits of shape (replicas, queries, classes), floating point, one candidate or more for every replica"""
    at = problem(5, [SHOTS] * 5)
    scores(method, at, replicas(method))


def finite(method: type[Method]) -> None:
    """no NaN and no infinity"""
    at = problem(5, [SHOTS] * 5)
    if not all(np.isfinite(one).all() for one in scores(method, at, replicas(method))):
        raise ContractError("expected finite logits, found NaN or infinity")


def inputs_untouched(method: type[Method]) -> None:
    """support, text and queries are left as they were"""
    at = problem(5, [SHOTS] * 5)
    before = _inputs(problem(5, [SHOTS] * 5))
    scores(method, at, replicas(method))
    changed = [name for name, array in _inputs(at).items() if not np.array_equal(array, before[name])]
    if changed:
        raise ContractError(f"expected its inputs untouched, found changed: {', '.join(changed)}")


def _inputs(at: Problem) -> dict[str, NDArray[Any]]:
    """Every array that a method could write into, by name."""
    texts = {"text": at.task.class_text(), "text at its own length": at.task.own_text()}
    arrays: dict[str, NDArray[Any]] = {"queries": at.queries, **texts}
    for seed, support in at.task.supports.items():
        arrays |= {f"support of seed {seed}": support.x, f"labels of seed {seed}": support.y}
        arrays |= {} if support.views is None else {f"views of seed {seed}": support.views}
    return arrays


def repeatable(method: type[Method]) -> None:
    """the same seed gives the same logits"""
    at = problem(5, [SHOTS] * 5)
    _same(
        scores(method, at, replicas(method)), scores(method, at, replicas(method)), "the same logits from the same seed"
    )


def alone_as_in_company(method: type[Method]) -> None:
    """a replica gives the same logits alone as beside others"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)
    together = scores(method, at, who)
    alone = [scores(method, at, [replica])[0] for replica in who]
    _same(together, alone, "a replica alone to equal the replica in company")


def one_query_at_a_time(method: type[Method]) -> None:
    """a query's logits don't depend on the other queries, nor on their order"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)[:1]
    whole = scores(method, at, who)[0]
    turned = scores(method, at, who, np.ascontiguousarray(at.queries[::-1]))[0][::-1]
    _same([whole], [turned], "the order of queries not to matter")
    single = scores(method, at, who, at.queries[3:4])[0]
    _same([whole[3:4]], [single], "one query alone to get the logits that it gets in a batch")


def by_hand(method: type[Method]) -> None:
    """what is written out by hand (`vjp`, `folded`) gives what `logits` gives"""
    if not issubclass(method, TrainedMethod):
        return
    from workflow.lib.engine.training import Run

    derived = type(method.__name__, (method,), {"vjp": TrainedMethod.vjp, "folded": TrainedMethod.folded})
    at, who = problem(5, [SHOTS] * 5), replicas(method)
    ours, theirs = (Run(one(), at.task, who) for one in (method, derived))
    found, expected = (run.gradients(*next(run.batches)) for run in (ours, theirs))
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        gap = float((found[name] - gradient).abs().max()) / largest
        if not gap <= TOLERANCE:
            raise ContractError(f"expected `vjp` to agree with `logits`; found gradients of {name} that differ")
    _same(list(theirs.logits(at.queries).numpy()), list(ours.logits(at.queries).numpy()), "`folded` to equal `logits`")


def classes_permuted(method: type[Method]) -> None:
    """permuting the classes permutes the logits; with random numbers per class, the accuracy stays close"""
    at, who = problem(6, [SHOTS] * 6), replicas(method, short=not method.random_per_class)
    order = np.array([3, 0, 5, 1, 4, 2])  # new class j is old class order[j]
    rank = np.argsort(order)
    supports = {seed: replace(one, y=rank[one.y]) for seed, one in at.task.supports.items()}
    text, raw = at.task.class_text()[order], at.task.own_text()[order]
    names = [at.task.classnames[k] for k in order]
    task = replace(at.task, supports=supports, text=text, text_raw=raw, classnames=names)
    before, after = scores(method, at, who), scores(method, Problem(task, at.queries, at.labels), who)
    if not method.random_per_class:
        _same([one[:, order] for one in before], after, "permuted classes to permute the logits")
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


def parameters(method: type[Method]) -> None:
    """every default is allowed, has a meaning, and survives JSON"""
    values = _params(method)
    if set(values) != set(method.params):
        raise ContractError(f"expected defaults for {sorted(method.params)}, found {sorted(values)}")
    for name, param in method.params.items():
        if not param.help:
            raise ContractError(f"expected a line of meaning for '{name}', found none")
        try:
            checked = param.check(json.loads(json.dumps(values[name])))
        except (ValueError, TypeError) as error:
            raise ContractError(
                f"expected the default of '{name}' to be allowed and to survive JSON: {error}"
            ) from error
        if checked != values[name]:
            raise ContractError(f"expected '{name}' to survive JSON, found {checked!r} for {values[name]!r}")


PROPERTIES: dict[str, Callable[[type[Method]], None]] = {
    function.__name__: function
    for function in (
        parameters,
        shapes,
        finite,
        repeatable,
        inputs_untouched,
        alone_as_in_company,
        one_query_at_a_time,
        by_hand,
        classes_permuted,
        sizes,
        better_than_chance,
    )
}


# What fails one of these can't be compared with itself, which is how the properties after them are tested.
BASIC = ("shapes", "finite", "repeatable")


def verdicts(method: type[Method]) -> list[Verdict]:
    """Every property of a method, in order."""
    found: list[Verdict] = []
    for name, function in PROPERTIES.items():
        if any(one.failure and one.name in BASIC for one in found):
            found.append(Verdict(name, _meaning(function), skipped=True))
        else:
            found.append(_verdict(method, name, function))
    return found


def _meaning(function: Callable[[type[Method]], None]) -> str:
    return (function.__doc__ or "").strip()


def _verdict(method: type[Method], name: str, function: Callable[[type[Method]], None]) -> Verdict:
    meaning = _meaning(function)
    try:
        function(method)
    except ContractError as violation:
        return Verdict(name, meaning, str(violation))
    except Exception as error:
        return Verdict(name, meaning, f"expected it to run, found {type(error).__name__}: {error}")
    return Verdict(name, meaning)


def check(method: type[Method]) -> None:
    """Raise ContractError with the first property that a method doesn't keep."""
    for verdict in verdicts(method):
        if verdict.failure:
            raise ContractError(f"{method.__name__}: {verdict.name} ({verdict.meaning}): {verdict.failure}")
