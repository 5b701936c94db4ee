"""The cache model that Tip-Adapter introduced (arXiv:2207.09519): a query reads values from the keys it resembles.

NumPy, in slices of queries: the affinities `(M, N)` of a large query set and a large support don't fit in memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Floats
from methods.contract.per_queries import PerQueries
from methods.contract.program import INPUT, Program, Writer

SLICE = 2**22  # affinities worked on at a time: 16 MiB; many small products would wait for threads instead
KEPT = 2**26  # affinities kept between readings: 256 MiB


def sharpen(cosines: NDArray[Any], beta: float) -> NDArray[Any]:
    """`exp(−β (1 − cosine))`, a new array of the shape and type of `cosines`."""
    affinity = cosines * beta
    affinity -= beta
    return np.exp(affinity, out=affinity)


class CacheModel:
    """Keys `(N, D)`, unit rows; the cosines of a query set to them are computed once and serve every β."""

    def __init__(self, keys: Floats) -> None:
        self._keys = keys
        self._cosines = PerQueries(lambda queries: queries @ keys.T)

    def read(self, queries: Floats, beta: float, values: Floats) -> Floats:
        """`exp(−β (1 − q keys^T)) values`: what queries `(M, D)` read from values `(N, V)`, as `(M, V)` float32."""
        read = np.empty((len(queries), values.shape[1]), np.float32)
        for rows, cosines in self._slices(queries):
            np.matmul(sharpen(cosines, beta), values, out=read[rows])
        return read

    def _slices(self, queries: Floats) -> Iterator[tuple[slice, Floats]]:
        """Rows of the queries and their cosines to every key."""
        keep = len(queries) * len(self._keys) <= KEPT
        step = max(1, SLICE // len(self._keys))
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            yield rows, self._cosines(queries)[rows] if keep else queries[rows] @ self._keys.T


def program(text: Floats, keys: Floats, beta: float, values: Floats, channels: Any = None) -> Program:
    """`f text^T + exp(−β (1 − f' keys^T)) values` as data, f' the query, or these channels of it made unit again."""
    write = Writer()
    query = INPUT if channels is None else write("unit", write("columns", INPUT, channels))
    affinity = write("exp", write("linear", query, beta * keys.T, np.full(len(keys), -beta)))
    return write.program(write("add", write("linear", INPUT, text.T), write("linear", affinity, values)))
