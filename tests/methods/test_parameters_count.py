"""Every parameter that a method declares changes what comes out of it: one that nothing reads is a lie in a study."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from methods import Method, Param, Replica
from methods.contract.base import Floats
from methods.tools.problems import SHORT, as_needed, problem, seen
from methods.tools.registry import load

# Where another parameter says whether this one is read, what that one is to be.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {("kgcoop", "context"): {"init": ""}}
# The stand-ins for towers have one text of a class, whatever stands before it, one block, one precision, and no images:
# tests/towers has others.
WITH_TOWERS = ("coop", "kgcoop", "clip_lora", "two_stage", "last_block", "fine_tune")
OF_TOWERS = [("last_block", "blocks"), ("clip_lora", "prompt"), ("two_stage", "prompt")]
OF_TOWERS += [(name, view) for name in ("clip_lora", "two_stage", "fine_tune") for view in ("crop", "flip")]
OF_TOWERS += [(name, "precision") for name in WITH_TOWERS]
WORDS = ("", "the")
NUMBERS = (0.0, 0.5, 2, 1, 3.0)
DECLARED = [
    (entry.method, name)
    for entry in load().methods.values()
    for name, param in entry.method.params.items()
    if len(param.choices) != 1 and (entry.method.name, name) not in OF_TOWERS
]


def others(param: Param, default: Any) -> Iterator[Any]:
    """Further values that are allowed, the plainest first."""
    tried = (*param.choices, True, False, *WORDS, *NUMBERS)
    near = (default + 1, 2 * default) if param.kind in (int, float) else ()
    for value in (*tried, *near):
        if type(value) is param.kind and value != default:
            try:
                yield param.check(value)
            except ValueError:
                continue


def answers(method: type[Method], params: dict[str, Any], choosing: bool, noise: float) -> list[Floats]:
    """The logits of every candidate of one replica."""
    at, who = problem(4, [5, 3, 4, 4], noise), Replica("-", params, 0)
    task = replace(as_needed(method, at.task, who), choosing=choosing)
    queries = seen(at.task, method().needs(params), at.queries).copy()
    return [np.asarray(candidate.logits(queries)).copy() for candidate in method().fit(task, [who])]


def equal(one: list[Floats], other: list[Floats]) -> bool:
    return len(one) == len(other) and all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize(("method", "name"), DECLARED, ids=[f"{method.name}-{name}" for method, name in DECLARED])
def test_another_value_gives_other_answers(method: type[Method], name: str) -> None:
    """Where the protocol chooses, or where it does not; where images are easy to tell, or where they are not."""
    short = {key: value for key, value in SHORT.items() if key in method.params}
    beside = BESIDE.get((method.name, name), {})
    for choosing, noise in product((False, True), (0.6, 1.2)):
        plain = method.defaults(beside) | beside | short
        before = answers(method, plain, choosing, noise)
        for value in others(method.params[name], plain[name]):
            given = beside | {name: value}
            if not equal(before, answers(method, method.defaults(given) | short | given, choosing, noise)):
                return
    pytest.fail(f"nothing changes with {name}")
