"""Ridge classification: least squares on the labels, in closed form."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from methods import Array, Facts, GridMethod, Method, Param, Params, Replica, Task, hookimpl
from methods.contract.base import Floats


class Ridge(GridMethod):
    """`f W^T + b` that minimises `‖F W^T + b − (2 Y − 1)‖² + α ‖W‖²`: scikit-learn's `RidgeClassifier`.

    It sees no text, so with few images it can be below zero-shot. Where the protocol chooses, one eigendecomposition of
    the centred F's products serves every α.
    """

    name = "ridge"
    departs = "nothing; it is a baseline without a paper"
    facts = Facts(
        year=1970,
        formula="f W^T + b, ‖F W^T + b − (2 Y − 1)‖² + α ‖W‖²",
        training="none: a closed form",
        learned="(D + 1) * K",
        fit="2 * N * D * min(N, D) + 2 * min(N, D)**3 / 3 + 2 * N * D * K",
        memory="2 * N * D + 4 * min(N, D)**2 + 2 * N * K",
        use="As the cheapest linear baseline that reviewers ask for.",
        fails="With few images: it sees no text. Its scores are no logits, so its probabilities are poor.",
    )
    params = {"alpha": Param(1.0, "weight α of the penalty on W", above=0)}
    grid = {"alpha": np.geomspace(1e-3, 1e3, 25).tolist()}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image"})

    def trainable(self, task: Task, params: Params) -> int:
        return (task.dim + 1) * task.classes

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        support = task.supports[replica.seed]
        targets = 2 * support.one_hot(task.classes).astype(np.float64) - 1
        x, centre = support.x.astype(np.float64), targets.mean(0)
        mean = x.mean(0)
        solve = solver(x - mean, targets - centre, many=task.choosing)

        def logits(queries: Floats, alpha: float) -> Floats:
            weight = solve(alpha)
            scores: Floats = queries @ weight.astype(np.float32) + (centre - mean @ weight).astype(np.float32)
            return scores

        return logits


Matrix = NDArray[np.float64]


def solver(x: Matrix, targets: Matrix, many: bool) -> Callable[[float], Matrix]:
    """From α to `(x^T x + α I)⁻¹ x^T targets`, or the same with `x x^T`, whichever is smaller; for `many` of them."""
    wide = x.shape[0] < x.shape[1]
    products, right = (x @ x.T, targets) if wide else (x.T @ x, x.T @ targets)
    solved = by_eigenvectors(products, right) if many else directly(products, right)
    return (lambda alpha: x.T @ solved(alpha)) if wide else solved


def by_eigenvectors(products: Matrix, right: Matrix) -> Callable[[float], Matrix]:
    """Slow at first, then a product for each α."""
    values, vectors = np.linalg.eigh(products)
    turned = vectors.T @ right
    return lambda alpha: vectors @ (turned / (values.clip(0) + alpha)[:, None])


def directly(products: Matrix, right: Matrix) -> Callable[[float], Matrix]:
    """A system of equations for each α."""
    return lambda alpha: np.linalg.solve(products + alpha * np.eye(len(products)), right).astype(np.float64, copy=False)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [Ridge]
