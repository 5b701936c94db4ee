"""What the closed forms share: reading a cache, a memory of query sets, defaults by shots."""

from dataclasses import replace

import numpy as np
import pytest

from methods import Support, Task, unit
from methods.contract import cache_model
from methods.contract.cache_model import CacheModel
from methods.contract.per_queries import PerQueries
from methods.contract.shots import nearest, number


def rows(count: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 6))).astype(np.float32)


@pytest.mark.parametrize("kept", [0, 10**6], ids=["cosines recomputed", "cosines kept"])
@pytest.mark.parametrize("size", [1, 40, 10**6])
def test_a_cache_is_read_query_by_query(kept: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_model, "SLICE", size)
    monkeypatch.setattr(cache_model, "KEPT", kept)
    keys, queries, values = rows(9, 0), rows(7, 1), rows(9, 2)
    cache = CacheModel(keys)
    for beta in (0.0, 2.5):
        expected = [sum(np.exp(-beta * (1 - q @ k)) * v for k, v in zip(keys, values, strict=True)) for q in queries]
        assert cache.read(queries, beta, values) == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("channels", [None, [0, 2, 5]])
def test_as_data_it_is_the_cache_beside_the_text(channels: list[int] | None) -> None:
    """The cache sees the query, or what these channels of it make when they are unit again."""
    text, queries, values = rows(3, 0), rows(7, 1), rows(9, 2)[:, :3]
    keys = rows(9, 3) if channels is None else unit(rows(9, 3)[:, channels])
    found = cache_model.program(text, keys, 2.5, values, None if channels is None else np.array(channels))(queries)
    for query, row in zip(queries, found, strict=True):
        seen = query if channels is None else unit(query[channels])
        votes = sum(np.exp(-2.5 * (1 - seen @ k)) * v for k, v in zip(keys, values, strict=True))
        assert row == pytest.approx(query @ text.T + votes, abs=1e-5)


def test_what_depends_on_the_queries_is_computed_once_for_each_set_and_key() -> None:
    asked = []

    def compute(queries: np.ndarray, beta: float) -> np.ndarray:
        asked.append((len(queries), beta))
        return queries * beta

    remembered, one, other = PerQueries(compute), rows(2, 0), rows(3, 0)
    for beta in (1.0, 1.0, 2.0):
        assert np.array_equal(remembered(one, beta), one * beta)
        assert np.array_equal(remembered(other, beta), other * beta)
    assert asked == [(2, 1.0), (3, 1.0), (2, 2.0), (3, 2.0)]


def test_equal_queries_in_another_array_are_another_set() -> None:
    remembered, queries = PerQueries(lambda queries: queries.copy()), rows(2, 0)
    assert remembered(queries) is remembered(queries)
    assert remembered(queries) is not remembered(queries.copy())


TASK = Task({0: Support(rows(12, 0), np.repeat(np.arange(3), 4))}, ["a", "b", "c"], "16")


@pytest.mark.parametrize(("shots", "expected"), [("16", 16), ("0", 1), ("all", 4)])
def test_shots_of_a_task(shots: str, expected: float) -> None:
    assert number(replace(TASK, shots=shots)) == expected


@pytest.mark.parametrize(("shots", "known"), [(1, 1), (2, 2), (3, 4), (5, 4), (6, 8), (10, 8), (12, 16), (500, 16)])
def test_the_nearest_number_of_shots_is_found_by_ratio(shots: int, known: int) -> None:
    assert nearest({n: n for n in (1, 2, 4, 8, 16)}, shots) == known
