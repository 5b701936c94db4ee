"""How a fitted classifier becomes a program: by itself where it is linear in the query, and as its method says it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from methods.contract.program import Numbers, Program, linear

Classify = Callable[[Numbers], Any]  # queries (M, D) to logits (M, K), of NumPy or torch
Embedded = Callable[[Program, Any], Numbers]  # what a program takes, of rows as a method sees images
PROBES = 256  # queries that a program is held to the classifier on
CLOSE = 2e-4  # of logits, relative to the largest: float32 sums in another order
LINEAR = 2e-5  # likewise of one matrix: a head near its start may be close to linear, and is not
THROUGH_TOWER = 1e-3  # likewise behind a tower that is changed, whose every block sums in another order
IMAGES = 64  # labelled ones that such a program is held to the classifier on
TOWER_REMEDY = "override `changed_tower` and `behind_tower`"
REMEDY = "override `export`, or give candidates a `program`"


class CannotShipError(ValueError):
    """A classifier that can't be written down as a program: the reason, in one line."""


def export(classify: Classify, program: Callable[[], Program | None], x: Numbers) -> Program:
    """The classifier of queries `(M, D)` like `x` as a program: `x W + b` where it is that, or what `program` gives.

    Raises CannotShipError where there is none, or where it gives other logits than the classifier.
    """
    queries = probes(x)
    expected = answers(classify, queries)
    found = affine(classify, x)
    if found is not None and agree(found, queries, expected, LINEAR):
        return found
    found = program()
    if found is None:
        raise CannotShipError(f"its classifier is not linear in the image's features: {REMEDY}")
    found.check()
    if not agree(found, queries, expected):
        raise CannotShipError(f"what it gives as a program has other logits than its classifier: {REMEDY}")
    return found


def behind_tower(classify: Classify, program: Callable[[], Program | None], embedded: Embedded, x: Any) -> Program:
    """The classifier of images as a program behind the tower that it changes: what `program` gives.

    `embedded` makes what a program takes of rows like `x (N, …)`, labelled images. Raises CannotShipError where there
    is no program, or where it gives other logits than the classifier on some of them.
    """
    found = program()
    if found is None:
        raise CannotShipError(f"it does not say what of the image tower it has changed: {TOWER_REMEDY}")
    found.check()
    some = x[np.unique(np.linspace(0, len(x) - 1, IMAGES).round().astype(np.int64))]
    if not agree(found, embedded(found, some), answers(classify, some), THROUGH_TOWER):
        raise CannotShipError(
            f"what it gives as changes of the image tower has other logits than its classifier: {TOWER_REMEDY}"
        )
    return found


def affine(classify: Classify, x: Numbers) -> Program | None:
    """W and b, were the classifier `x W + b`, from its answers on the axes, at the length of `x`, and their opposites.

    Both have that length: a classifier that asks for unit queries gets them. None where it has no finite answer there.
    """
    dim, length = x.shape[1], float(np.linalg.norm(x, axis=1).mean())
    axes = np.float32(length) * np.eye(dim, dtype=np.float32)
    ahead, behind = answers(classify, axes), answers(classify, -axes)
    if not (np.isfinite(ahead).all() and np.isfinite(behind).all()):
        return None
    weight = (ahead.astype(np.float64) - behind) / (2 * length)
    bias = (ahead.astype(np.float64) + behind).mean(0) / 2
    return linear(weight.astype(np.float32), bias.astype(np.float32))


def agree(program: Program, queries: Numbers, expected: Numbers, close: float = CLOSE) -> bool:
    """Whether the program gives these logits."""
    found = program(queries)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return False
    scale = max(1e-6, float(np.abs(expected).max()))
    return bool(np.abs(found - expected).max() <= close * scale)


def answers(classify: Classify, queries: Numbers) -> Numbers:
    """The logits `(M, K)`, in NumPy."""
    found = classify(queries)
    return np.array(found if isinstance(found, np.ndarray) else found.detach().float().cpu().numpy())


def probes(x: Numbers) -> Numbers:
    """Queries between the images `x (N, D)` and around them, at their lengths; none is one of them."""
    rng = np.random.default_rng(0)
    first, second = x[rng.integers(len(x), size=(2, PROBES))]
    length = np.linalg.norm(first, axis=1, keepdims=True)
    noise = rng.normal(size=first.shape) * length / x.shape[1] ** 0.5
    mixed = 0.6 * first + 0.4 * second + rng.choice([0.1, 0.5, 3.0], size=(PROBES, 1)) * noise
    return np.asarray(mixed * (length / np.linalg.norm(mixed, axis=1, keepdims=True)), np.float32)
