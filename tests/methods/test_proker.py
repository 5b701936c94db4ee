"""ProKeR: kernel ridge regression of what zero-shot leaves of the labels."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from methods.proker import ProximalKernel
from tests.methods.conftest import Easy


def kernel(a: np.ndarray, b: np.ndarray, beta: float) -> np.ndarray:
    return np.array([[np.exp(-beta * (1 - float(one @ other))) for other in b] for one in a])


def expected(easy: Easy, beta: float, lam: float) -> np.ndarray:
    """The definition: the inverse of `k(F, F) / λ + I`, in float64."""
    x, text = easy.support.x.astype(float), easy.task.class_text().astype(float)
    left = np.eye(len(text))[easy.support.y] - x @ text.T
    coefficients = np.linalg.inv(kernel(x, x, beta) / lam + np.eye(len(x))) @ left
    return easy.queries @ text.T + kernel(easy.queries, x, beta) @ coefficients


@pytest.mark.parametrize(("beta", "lam"), [(2.0, 0.1), (0.5, 1.0), (3.0, 1e-3), (7.0, 20.0)])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_it_is_the_published_formula(
    beta: float, lam: float, counts: tuple[int, ...], easy_of: Callable[..., Easy]
) -> None:
    easy = easy_of(counts=counts)
    found = easy.logits(ProximalKernel, **{"beta": beta, "lambda": lam})
    assert found == pytest.approx(expected(easy, beta, lam), abs=1e-4)


def test_every_point_of_the_grid_is_the_formula_too(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(choosing=True)
    points = easy.points(ProximalKernel)
    assert len(points) == 6 * 13 + 1
    for point, logits in points:
        assert logits == pytest.approx(expected(easy, point["beta"], point["lambda"]), abs=1e-4)


def test_with_lambda_towards_zero_it_is_zero_shot(easy: Easy) -> None:
    found = easy.logits(ProximalKernel, **{"beta": 2.0, "lambda": 1e-9})
    assert found == pytest.approx(easy.zero_shot / easy.task.logit_scale, abs=1e-5)


def test_with_lambda_large_it_is_a_ridge_regression_that_only_the_identity_holds(easy: Easy) -> None:
    """λ → ∞ leaves A = Y − F T^T: a cache model on what zero-shot leaves of the labels."""
    x, text = easy.support.x, easy.task.class_text()
    left = easy.support.one_hot(3) - x @ text.T
    found = easy.logits(ProximalKernel, **{"beta": 2.0, "lambda": 1e9})
    assert found == pytest.approx(easy.queries @ text.T + kernel(easy.queries, x, 2.0) @ left, abs=1e-4)


@pytest.mark.parametrize(
    ("shots", "beta", "lam"),
    [("1", 3.0, 0.05), ("2", 2.6, 0.05), ("3", 1.5, 0.05), ("4", 1.5, 0.05), ("8", 1.66, 0.07), ("12", 1.7, 0.1)],
)
def test_its_defaults_are_those_of_the_nearest_published_number_of_shots(
    easy: Easy, shots: str, beta: float, lam: float
) -> None:
    asked = Easy(replace(easy.task, shots=shots), easy.queries, easy.labels)
    assert asked.points(ProximalKernel)[-1][0] == {"beta": beta, "lambda": lam}


def test_for_all_shots_the_images_per_class_count(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(10, 6))
    asked = Easy(replace(easy.task, shots="all"), easy.queries, easy.labels)
    assert asked.points(ProximalKernel)[-1][0] == {"beta": 1.66, "lambda": 0.07}


def test_a_parameter_that_is_given_is_kept(easy: Easy) -> None:
    assert easy.points(ProximalKernel, beta=0.9)[-1][0] == {"beta": 0.9, "lambda": 0.05}
