"""Logistic regression by scikit-learn, on the image embedding, on the cosines to the class texts, or on both."""

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from methods import Array, Candidate, Facts, Method, Param, Params, Replica, Task, hookimpl


class LogisticRegression(Method):
    """`LogisticRegression` on `f`, on `f T^T` or on `[f, f T^T]`, with or without a `StandardScaler` before it.

    It starts from nothing: at one shot it may be below zero-shot, which knows the class names. These are the starting
    study's settings, so they stay; where there are few images take a method that starts at the class texts.
    """

    name = "logistic_regression"
    departs = "nothing"
    facts = Facts(
        year=2021,
        formula="W f + b, ‖W‖² / 2 + C Σ cross-entropy",
        training="L-BFGS, 1000 iterations at most",
        learned="(D + 1) * K",
        fit="4 * E * N * D * K",
        memory="20 * D * K + N * K",
        use="With many images of each class, as the plain baseline of the linear-probe literature.",
        fails=(
            "With one or two images of each class: it knows nothing of the class names. C = 1 on unit vectors "
            "is a strong penalty."
        ),
        passes=100,
    )
    imports = ("sklearn.linear_model", "sklearn.pipeline", "sklearn.preprocessing")
    params = {
        "inputs": Param("image", "what the classifier sees", choices=("image", "logits", "image+logits")),
        "scale": Param("none", "scaling fitted on the support, column by column", choices=("none", "standard")),
        "C": Param(1.0, "inverse strength of the l2 penalty", above=0),
        "path": Param(0, "values of C from 0.001 to 1000 that a protocol that chooses may choose from", low=0),
        "max_iter": Param(1000, "iterations of L-BFGS", low=1),
    }

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image"}) if params["inputs"] == "image" else frozenset({"image", "text"})

    def trainable(self, task: Task, params: Params) -> int:
        columns = {"image": task.dim, "logits": task.classes, "image+logits": task.dim + task.classes}
        return (columns[params["inputs"]] + 1) * task.classes

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            if task.choosing and replica.params["path"]:
                yield from self._along_the_path(task, replica)
            model = self._model(replica.params)
            self._fit(task, replica, model)
            scores = partial(self._scores, task, replica.params, model)
            point = {"C": replica.params["C"]}
            yield Candidate([replica], scores, point, self._note(replica, model[-1]))

    def _along_the_path(self, task: Task, replica: Replica) -> Iterator[Candidate]:
        """Candidates from the strongest penalty to the weakest, each fit beginning where the one before ended."""
        model = self._model(replica.params)
        model[-1].warm_start = True
        for strength in np.logspace(-3, 3, replica.params["path"]).tolist():
            model[-1].C = strength
            self._fit(task, replica, model)
            yield Candidate([replica], partial(self._scores, task, replica.params, model), {"C": strength})

    def _fit(self, task: Task, replica: Replica, model: Any) -> None:
        support = task.supports[replica.seed]
        with warnings.catch_warnings():  # a fit that stopped early becomes a note, not a warning in the log
            warnings.simplefilter("ignore")
            model.fit(self._columns(task, replica.params, support.x), support.y)

    def _model(self, params: Params) -> Any:
        from sklearn import linear_model, pipeline, preprocessing

        head = linear_model.LogisticRegression(C=params["C"], max_iter=params["max_iter"])
        scaler = [preprocessing.StandardScaler()] if params["scale"] == "standard" else []
        return pipeline.make_pipeline(*scaler, head)

    def _columns(self, task: Task, params: Params, x: Array) -> Array:
        """The inputs `(N, D)`, `(N, K)` or `(N, D + K)`; the cosines are not scaled."""
        if params["inputs"] == "image":
            return x
        cosines = x @ task.class_text().T
        return cosines if params["inputs"] == "logits" else np.concatenate([x, cosines], axis=1)

    def _scores(self, task: Task, params: Params, model: Any, x: Array) -> Array:
        """Logits `(1, M, K)`; of two classes scikit-learn gives one column, the log odds of the second."""
        scores = model.decision_function(self._columns(task, params, x))
        if task.classes == 2:
            scores = np.stack([-scores / 2, scores / 2], axis=1)
        return scores.astype(np.float32)[None]

    def _note(self, replica: Replica, head: Any) -> str:
        limit = replica.params["max_iter"]
        return f"not converged after {limit} iterations" if int(np.max(head.n_iter_)) >= limit else ""


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LogisticRegression]
