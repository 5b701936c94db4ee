"""A function of the queries that is computed once for each set of queries, however many grid points read it."""

from collections.abc import Callable

from methods.contract.base import Array

SETS = 2  # the evaluator asks about the reported split and about val, in turn


class PerQueries:
    """`compute(queries, *key)` with a memory for its latest two results.

    Queries are told apart by identity: nobody writes to them. Keys, numbers, are told apart by value.
    """

    def __init__(self, compute: Callable[..., Array]) -> None:
        self._compute = compute
        self._known: list[tuple[Array, tuple[float, ...], Array]] = []

    def __call__(self, queries: Array, *key: float) -> Array:
        for known, at, value in self._known:
            if known is queries and at == key:
                return value
        value = self._compute(queries, *key)
        self._known = [*self._known, (queries, key, value)][-SETS:]
        return value
