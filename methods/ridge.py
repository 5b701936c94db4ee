"""Ridge classification: least squares on the labels, in closed form."""

from collections.abc import Callable

import numpy as np

from methods import Array, Facts, GridMethod, Method, Param, Params, Replica, Task, hookimpl
from methods.contract.base import Floats


class Ridge(GridMethod):
    """`f W^T + b` that minimises `‖F W^T + b − (2 Y − 1)‖² + α ‖W‖²`: scikit-learn's `RidgeClassifier`.

    It sees no text, so with few images it can be below zero-shot. One singular value decomposition of the centred F
    serves every α.
    """

    name = "ridge"
    departs = "nothing: it is a baseline without a paper"
    facts = Facts(
        year=1970,
        formula="f W^T + b, ‖F W^T + b − (2 Y − 1)‖² + α ‖W‖²",
        training="none: a closed form",
        learned="(D + 1) * K",
        fit="4 * N * D * min(N, D) + 2 * N * D * K",
        memory="2 * (N * D + D * min(N, D)) + 2 * N * K",
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
        left, sizes, right = np.linalg.svd(x - mean, full_matrices=False)
        projected = left.T @ (targets - centre)

        def logits(queries: Floats, alpha: float) -> Floats:
            weight = right.T @ ((sizes / (sizes**2 + alpha))[:, None] * projected)
            scores: Floats = queries @ weight.astype(np.float32) + (centre - mean @ weight).astype(np.float32)
            return scores

        return logits


@hookimpl
def register_methods() -> list[type[Method]]:
    return [Ridge]
