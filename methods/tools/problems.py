"""What a method is checked on: made problems, and its answers to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Candidate, Floats, Labels, Method, Projection, Replica, Support, Task, unit
from methods.contract.params import nearest
from methods.contract.trained import TrainedMethod
from methods.tools.stand_in import MadeEncoder, MadeModel
from workflow.lib.evaluation import engines

DIM, SEEDS, SHOTS, QUERIES = 16, (0, 1), 4, 40
SHORT = {"epochs": 4, "steps": 8, "iterations": 2}
LONG = {"iterations": 20}  # where it is not brief: thousands of steps for a few images show nothing more
TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(DIM, DIM)))[0].astype(np.float32)
LAST = Projection(TURN, np.zeros(DIM, np.float32))  # of the made images: a turn, which loses nothing of them
TOLERANCE = 2e-3  # of logits, relative to their spread: float32 sums in another order, solvers that stop early


class ContractError(AssertionError):
    """A method does not keep its contract: what was expected, and what was found."""


class OpenTask(Task):
    """A task that shows every replica the supports of all seeds, so that a method that uses them is found out."""

    def of(self, replica: Replica) -> Task:
        return self


class Declared(dict[str, Any]):
    """The parameters of a replica: asking for one that the method doesn't declare says so."""

    def __missing__(self, name: str) -> Any:
        known = ", ".join(self) or "none"
        raise ContractError(f"expected a parameter that is declared ({known}), found {name!r}{nearest(name, self)}")


@dataclass(frozen=True)
class Problem:
    """A made classification problem: the task, queries `(M, D)` and their labels `(M,)`."""

    task: Task
    queries: Floats
    labels: Labels


def problem(classes: int, counts: Sequence[int], noise: float = 0.6, other: Iterable[int] = ()) -> Problem:
    """Unit vectors around random centres, `counts[k]` of class k in each support; the text lies near the centres.

    Each image has two views, near the same centre, and each class three prompts. The seeds in `other` draw other images
    than they would.
    """
    rng = np.random.default_rng(7)
    centres = unit(rng.normal(size=(classes, DIM)))
    labels = np.repeat(np.arange(classes), counts)

    def near(y: Labels, rng: np.random.Generator = rng) -> Floats:
        return unit(centres[y] + noise / DIM**0.5 * rng.normal(size=(*y.shape, DIM))).astype(np.float32)

    supports = {seed: Support(near(labels), labels) for seed in SEEDS}
    answers = rng.integers(classes, size=QUERIES)
    text = near(np.arange(classes))
    queries = near(answers)
    supports = {seed: replace(one, views=near(np.stack([one.y] * 2, 1))) for seed, one in supports.items()}
    for seed in other:
        again = np.random.default_rng([7, seed])
        supports[seed] = Support(near(labels, again), labels, near(np.stack([labels] * 2, 1), again))
    task = OpenTask(
        supports,
        list(map(str, range(classes))),
        str(max(counts)),
        text,
        logit_scale=20.0,
        engine=engines.engine(TrainedMethod),
        text_raw=(text * rng.uniform(8, 12, size=(classes, 1))).astype(np.float32),
        text_each=near(np.stack([np.arange(classes)] * 3, 1)),
        encoder=MadeEncoder(text, list(map(str, range(classes)))),
        model=MadeModel(text),
    )
    return Problem(task, queries, answers)


def arrays(task: Task) -> dict[str, NDArray[Any]]:
    """The arrays of a task that are not of its supports, by name: the class texts `(K, D)`, unit and as they were."""
    found = {field.name: getattr(task, field.name) for field in fields(task)}
    return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


def defaults(method: type[Method]) -> dict[str, Any]:
    """The value of every parameter that no study sets."""
    return dict(sorted(method.defaults({}).items()))


def replicas(method: type[Method], short: bool = True) -> list[Replica]:
    """The default variant with every seed, trained briefly."""
    cut = {key: value for key, value in (SHORT if short else LONG).items() if key in method.params}
    return [Replica("-", Declared(defaults(method) | cut), seed) for seed in SEEDS]


def scores(method: type[Method], at: Problem, who: Sequence[Replica], queries: Floats | None = None) -> list[Floats]:
    """The default candidate's logits `(M, K)` of each replica.

    Raises ContractError for what is no array of that shape, and for a replica without a candidate.
    """
    asked = at.queries if queries is None else queries
    asked = seen(at.task, method().needs(who[0].params), asked)
    last: dict[Replica, Floats] = {}
    for candidate in method().fit(as_needed(method, at.task, who[0]), who):
        last |= dict(zip(candidate.replicas, _logits(candidate, asked, at.task.classes), strict=True))
    missing = [str(replica) for replica in who if replica not in last]
    if missing:
        raise ContractError(f"expected a candidate for every replica, found none for {missing[0]}")
    return [last[replica] for replica in who]


def as_needed(method: type[Method], task: Task, replica: Replica) -> Task:
    """The task without what the method doesn't say that it needs: there are features that don't have it."""
    needs = method().needs(replica.params)
    supports = {seed: _as_needed(task, needs, support) for seed, support in task.supports.items()}
    texts: dict[str, Any] = {} if "text" in needs else {"text": None, "text_raw": None}
    texts |= {} if "text_each" in needs else {"text_each": None}
    towers: dict[str, Any] = {} if "text_encoder" in needs else {"encoder": None}
    towers |= {} if "model" in needs else {"model": None}
    return replace(task, supports=supports, projection=LAST if "pre" in needs else None, **texts, **towers)


def _as_needed(task: Task, needs: frozenset[str], support: Support) -> Support:
    x = seen(task, needs, support.x)
    if support.views is None or "views" not in needs:
        return replace(support, x=x, views=None)
    return replace(support, x=x, views=seen(task, needs & {"pre"}, support.views))


def seen(task: Task, needs: frozenset[str], x: Floats) -> Floats:
    """Unit embeddings as a method with these needs sees the images: itself where it needs no array beside them, or
    images, which the made towers take embeddings for.
    """
    if "pre" in needs:
        made = x @ LAST.weight.T
    elif "spatial_logits" in needs:
        cosines = x @ task.class_text().T
        made = np.concatenate([x, np.tanh(cosines), task.logit_scale * cosines / 2], axis=1)
    else:
        return x
    made.flags.writeable = False  # the copy is hidden from the check that inputs are left alone
    return made


def _logits(candidate: Candidate, queries: Floats, classes: int) -> Floats:
    found = candidate.logits(queries)
    array = found if isinstance(found, np.ndarray) else found.detach().cpu().numpy()
    expected = (len(candidate.replicas), len(queries), classes)
    if array.shape != expected or array.dtype.kind != "f":
        raise ContractError(f"expected floating-point logits of shape {expected}, found {array.dtype} of {array.shape}")
    return array.astype(np.float32).copy()


def same(a: Sequence[Floats], b: Sequence[Floats], expectation: str) -> None:
    """Raise ContractError unless the logits agree to rounding, relative to their spread."""
    for one, other in zip(a, b, strict=True):
        gap = float(np.abs(one - other).max() / (one.std() + 1e-6))
        if not gap <= TOLERANCE:
            raise ContractError(f"expected {expectation}; found logits that differ by {gap:.2g} of their spread")


def settings(method: type[Method]) -> list[Mapping[str, Any]]:
    """The defaults, and each choice and each switch once in another position."""
    base = defaults(method)
    found: list[Mapping[str, Any]] = [base]
    for name, param in method.params.items():
        values = param.choices or ((True, False) if param.kind is bool else ())
        found += [method.defaults({name: value}) | {name: value} for value in values if value != base.get(name)]
    return found
