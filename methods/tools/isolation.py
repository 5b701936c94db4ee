"""Properties of what a replica may see and may not do: inputs are left alone, and no other seed's support is used."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.contract.base import Method, Replica
from methods.tools.problems import SEEDS, SHOTS, ContractError, Problem, arrays, problem, replicas, same, scores


def inputs_untouched(method: type[Method]) -> None:
    """support, text, queries and `params` are left as they were"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)
    before = _inputs(problem(5, [SHOTS] * 5), replicas(method))
    scores(method, at, who)
    after = _inputs(at, who)
    changed = [name for name in before if not np.array_equal(after[name], before[name])]
    if changed:
        raise ContractError(f"expected its inputs untouched, found changed: {', '.join(changed)}")


def _inputs(at: Problem, who: Sequence[Replica]) -> dict[str, Any]:
    """All that a method could write into, by name."""
    found: dict[str, Any] = {"queries": at.queries, "classnames": at.task.classnames} | arrays(at.task)
    found["seeds of the supports"] = list(at.task.supports)
    for seed in SEEDS:
        support = at.task.supports.get(seed)
        parts = {"support": "x", "labels": "y", "views": "views"}
        found |= {f"{name} of seed {seed}": getattr(support, part, None) for name, part in parts.items()}
    return found | {f"params of {replica}": repr(dict(replica.params)) for replica in who}


def own_support_alone(method: type[Method]) -> None:
    """a replica depends on its own support alone: those of other seeds may be any"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)
    before = scores(method, at, who)
    for i, replica in enumerate(who):
        others = [seed for seed in SEEDS if seed != replica.seed or not method.learns]
        after = scores(method, problem(5, [SHOTS] * 5, other=others), who)
        what = "other images for the other seeds" if method.learns else "other images, where no image is learned from,"
        same([before[i]], [after[i]], f"{what} to change nothing for {replica}")


def alone_as_in_company(method: type[Method]) -> None:
    """a replica gives the same logits alone as beside others"""
    at, who = problem(5, [SHOTS] * 5), replicas(method)
    together = scores(method, at, who)
    alone = [scores(method, at, [replica])[0] for replica in who]
    same(together, alone, "a replica alone to equal the replica in company")
