"""ProKeR: kernel ridge regression from the image embedding to what zero-shot leaves of the labels, in closed form."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods import Array, Facts, GridMethod, Method, Param, Replica, Support, Task, hookimpl
from methods.contract import cache_model, shots
from methods.contract.base import Floats
from methods.contract.cache_model import CacheModel, sharpen
from methods.contract.gridded import Point
from methods.contract.per_queries import PerQueries
from methods.contract.program import Program

BETA = {1: 3.0, 2: 2.6, 4: 1.5, 8: 1.66, 16: 1.7}
LAMBDA = {1: 0.05, 2: 0.05, 4: 0.05, 8: 0.07, 16: 0.1}

Solver = Callable[[float], Floats]  # from λ to the coefficients A (N, K)


class ProximalKernel(GridMethod):
    """`f T^T + k(f, F) A` with `A = (k(F, F) / λ + I)⁻¹ (Y − F T^T)` and `k(a, b) = exp(−β (1 − a b^T))`.

    The cosines are not scaled, because they are to predict a one-hot label; λ also sets how
    far the answer may move from zero-shot. One eigendecomposition of `k(F, F)` serves every λ of a β.
    """

    name = "proker"
    paper = "arXiv:2501.11175"
    departs = "augmented views as samples, which the published β and λ belong to, unless `views: true`"
    facts = Facts(
        year=2025,
        formula="f T^T + k(f, F) (k(F, F) / λ + I)⁻¹ (Y − F T^T)",
        training="none: a closed form",
        learned="0",
        fit="2 * N**2 * D + N**3 / 3 + 2 * N**2 * K",
        memory="2 * N**2 + N * (D + K)",
        use="From one shot on, without training; λ says how far it may move from zero-shot.",
        fails="With tens of thousands of images: memory grows as N², time as N³.",
    )
    params = {
        "beta": Param(0.0, "sharpness β of the kernel; 0 takes the published one for the number of shots", low=0),
        "lambda": Param(0.0, "how far λ it may move from zero-shot; 0 takes the published one for the shots", low=0),
        "views": Param(False, "take every augmented view of an image as a sample of its own, in place of the image"),
    }
    grid = {"beta": np.linspace(0.5, 3, 6).tolist(), "lambda": np.geomspace(1e-3, 1, 13).tolist()}

    def configured(self, task: Task, replica: Replica) -> Point:
        number = shots.number(task)
        beta = replica.params["beta"] or shots.nearest(BETA, number)
        return {"beta": beta, "lambda": replica.params["lambda"] or shots.nearest(LAMBDA, number)}

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        support, text = samples(task, replica), task.class_text()
        left = remainder(support, text)
        solver = lru_cache(1)(partial(eigensolver if task.choosing else cholesky, support.x, left))
        cache, cosines = CacheModel(support.x), PerQueries(lambda queries: queries @ text.T)

        def logits(queries: Floats, **point: Any) -> Floats:
            coefficients = solver(point["beta"])(point["lambda"])
            return cosines(queries) + cache.read(queries, point["beta"], coefficients)

        return logits

    def program(self, task: Task, replica: Replica, point: Point) -> Program:
        support, text = samples(task, replica), task.class_text()
        coefficients = cholesky(support.x, remainder(support, text), point["beta"])(point["lambda"])
        return cache_model.program(text, support.x, point["beta"], coefficients)


def samples(task: Task, replica: Replica) -> Support:
    """What the kernel is of: images, or all views of them."""
    support = task.supports[replica.seed]
    return support.every_view() if replica.params["views"] else support


def remainder(support: Support, text: Floats) -> Floats:
    """`Y − F T^T (N, K)`: what zero-shot leaves of the labels."""
    return support.one_hot(len(text)) - support.x @ text.T


def kernel(x: Floats, beta: float) -> NDArray[np.float64]:
    """`k(F, F)` `(N, N)` in float64: λ is far below its largest eigenvalue."""
    wide = x.astype(np.float64)
    return sharpen(wide @ wide.T, beta)


def cholesky(x: Floats, left: Floats, beta: float) -> Solver:
    """Solves for one λ: `(k + λ I) A = λ left`, which is the definition times λ."""
    from scipy import linalg

    def solve(lam: float) -> Floats:
        system = kernel(x, beta)
        system.flat[:: len(x) + 1] += lam
        factor = linalg.cho_factor(system, overwrite_a=True)
        return (lam * linalg.cho_solve(factor, left)).astype(np.float32)

    return solve


def eigensolver(x: Floats, left: Floats, beta: float) -> Solver:
    """Solves for any λ: with `k = U diag(e) U^T`, `A = U diag(λ / (e + λ)) U^T left`."""
    from scipy import linalg

    values, vectors = linalg.eigh(kernel(x, beta), overwrite_a=True, driver="evd")
    projected = vectors.T @ left
    return lambda lam: (vectors @ (lam / (values.clip(0) + lam)[:, None] * projected)).astype(np.float32)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [ProximalKernel]
