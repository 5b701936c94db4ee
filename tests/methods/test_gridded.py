"""Methods with a grid: every point is the method with those parameters, the configured ones come last."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from methods import GridMethod, Replica
from methods.ape import AdaptivePriorRefinement
from methods.gda import GaussianDiscriminant
from methods.proker import ProximalKernel
from methods.tip_adapter import TipAdapter
from tests.methods.conftest import Easy

METHODS = [TipAdapter, AdaptivePriorRefinement, GaussianDiscriminant, ProximalKernel]

pytestmark = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@pytest.fixture(autouse=True)
def _small_grid(method: type[GridMethod], monkeypatch: pytest.MonkeyPatch) -> None:
    """Three values of each parameter."""
    grid = {name: [values[0], values[len(values) // 2], values[-1]] for name, values in method.grid.items()}
    monkeypatch.setattr(method, "grid", grid)


def test_where_nothing_is_chosen_the_configured_point_is_all_there_is(method: type[GridMethod], easy: Easy) -> None:
    (point, _), *rest = easy.points(method)
    assert rest == []
    assert set(point) == set(method.grid)


def test_where_the_protocol_chooses_there_is_the_grid_and_the_configured_point_last(
    method: type[GridMethod], easy_of: Callable[..., Easy]
) -> None:
    points = [point for point, _ in easy_of(choosing=True).points(method)]
    assert points[:-1] == [dict(zip(method.grid, values, strict=True)) for values in product(*method.grid.values())]
    assert points[-1] == easy_of().points(method)[-1][0]


@pytest.mark.parametrize("counts", [(1, 1), (4, 4, 4), (5, 1, 2)], ids=["one shot", "balanced", "unbalanced"])
def test_a_point_of_the_grid_is_the_method_with_those_parameters(
    method: type[GridMethod], counts: tuple[int, ...], easy_of: Callable[..., Easy]
) -> None:
    for point, logits in easy_of(counts=counts, choosing=True).points(method):
        alone = easy_of(counts=counts).logits(method, **point)
        assert logits == pytest.approx(alone, rel=1e-4, abs=1e-4)


def test_every_grid_value_is_an_allowed_parameter(method: type[GridMethod]) -> None:
    for name, values in method.grid.items():
        assert [method.params[name].check(value) for value in values] == values


def test_what_is_kept_for_one_set_of_queries_does_not_reach_another(
    method: type[GridMethod], easy_of: Callable[..., Easy]
) -> None:
    """The evaluator asks every point about the reported split and then about val."""
    easy = easy_of(choosing=True)
    other = easy.queries[::-1].copy()
    replica = Replica("-", method.defaults({}), 0)
    for candidate in method().fit(easy.task, [replica]):
        there, back = candidate.logits(easy.queries)[0], candidate.logits(other)[0]
        assert back[::-1] == pytest.approx(there, rel=1e-5, abs=1e-5)
        assert np.array_equal(candidate.logits(easy.queries)[0], there)


def test_permuting_the_classes_permutes_the_logits_of_every_point(
    method: type[GridMethod], easy_of: Callable[..., Easy]
) -> None:
    easy, order = easy_of(counts=(5, 1, 2, 3), choosing=True), [2, 0, 3, 1]
    for (_, logits), (_, moved) in zip(easy.points(method), easy.permuted(order).points(method), strict=True):
        assert moved == pytest.approx(logits[:, order], rel=1e-4, abs=1e-4)


def test_a_replica_alone_is_as_in_company(method: type[GridMethod], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(seeds=2)
    who = [Replica("-", method.defaults({}), seed) for seed in (0, 1)]
    together = [candidate.logits(easy.queries)[0] for candidate in method().fit(easy.task, who)]
    assert np.array_equal(together, [easy.logits(method, seed=seed) for seed in (0, 1)])
    assert not np.allclose(together[0], together[1])
