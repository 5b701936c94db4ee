"""A linear support vector machine on the image embedding, by scikit-learn."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from methods import Array, Candidate, Facts, Method, Param, Params, Replica, Task, hookimpl

STRENGTHS = np.geomspace(1e-3, 1e3, 13).tolist()


class LinearSVM(Method):
    """`f W^T + b` of scikit-learn's `LinearSVC`: one class against the rest, squared hinge, `‖W‖² / 2 + C Σ loss`.

    It sees no text, so with few images it can be below zero-shot. The primal problem is solved, without randomness.
    """

    name = "linear_svm"
    departs = "nothing; it is a baseline without a paper"
    facts = Facts(
        year=2008,
        formula="f W^T + b, ‖W‖² / 2 + C Σ squared hinge",
        training="trust-region Newton, 1000 iterations at most",
        learned="(D + 1) * K",
        fit="4 * E * N * D * K",
        memory="2 * N * D + 2 * D * K",
        use="As the baseline of the linear-probe literature before logistic regression.",
        fails="With few images: it sees no text. Its scores are no logits, so its probabilities are poor.",
        passes=50,
    )
    imports = ("sklearn.svm",)
    params = {
        "C": Param(1.0, "weight C of the loss beside the penalty on W", above=0),
        "max_iter": Param(1000, "iterations of the solver", low=1),
    }

    def trainable(self, task: Task, params: Params) -> int:
        return (task.dim + 1) * task.classes

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Every C of the grid where the protocol chooses, and the configured one at the end."""
        for replica in replicas:
            for strength in [*(STRENGTHS if task.choosing else []), replica.params["C"]]:
                model = self._fitted(task, replica, strength)
                stopped = int(np.max(model.n_iter_)) >= replica.params["max_iter"]
                note = f"not converged after {replica.params['max_iter']} iterations" if stopped else ""
                yield Candidate([replica], partial(_scores, task.classes, model), {"C": strength}, note)

    def _fitted(self, task: Task, replica: Replica, strength: float) -> Any:
        from sklearn import svm

        support = task.supports[replica.seed]
        model = svm.LinearSVC(C=strength, dual=False, max_iter=replica.params["max_iter"])
        with warnings.catch_warnings():  # a fit that stopped early becomes a note, not a warning in the log
            warnings.simplefilter("ignore")
            return model.fit(support.x, support.y)


def _scores(classes: int, model: Any, x: Array) -> Array:
    """Logits `(1, M, K)`; of two classes scikit-learn gives one column, which speaks for the second."""
    scores = model.decision_function(x)
    if classes == 2:
        scores = np.stack([-scores, scores], axis=1)
    return scores.astype(np.float32)[None]


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LinearSVM]
