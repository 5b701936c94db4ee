"""GDA: Gaussian discriminant analysis of the labelled images beside the zero-shot classifier, in closed form."""

from collections.abc import Callable
from math import log

import numpy as np
from numpy.typing import NDArray

from methods import Array, GridMethod, Method, Param, Replica, Support, Task, hookimpl
from methods.contract.base import Floats
from methods.contract.per_queries import PerQueries

ONE_IMAGE = "no two images differ within a class, so there is no covariance: the same as zero-shot"


class GaussianDiscriminant(GridMethod):
    """`s f T^T + α (f W^T + b)` with `W = μ Σ⁻¹` and `b_k = log(1/K) − μ_k Σ⁻¹ μ_k^T / 2`.

    μ are the class means. All classes share one covariance, of the M centred images, and its inverse is the empirical
    Bayes estimate `Σ⁻¹ = D · pinv((M − 1) Cov + tr(Cov) I)`.
    """

    name = "gda"
    paper = "arXiv:2402.04087"
    params = {
        "alpha": Param(1.0, "weight α of the discriminant beside the zero-shot logits", low=0),
        "views": Param(False, "take every augmented view of an image as a sample of its own, in place of the image"),
    }
    grid = {"alpha": np.geomspace(1e-4, 100, 49).tolist()}

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        weight, bias = discriminant(samples(task, replica), task.classes)
        text = task.class_text()
        zero_shot = PerQueries(lambda queries: task.logit_scale * queries @ text.T)
        scores = PerQueries(lambda queries: queries @ weight.T + bias)
        return lambda queries, alpha: zero_shot(queries) + alpha * scores(queries)

    def note(self, task: Task, replica: Replica) -> str:
        return "" if centred(samples(task, replica), task.classes)[1].any() else ONE_IMAGE


def samples(task: Task, replica: Replica) -> Support:
    """What the means and the covariance are of: images, or all views of them."""
    support = task.supports[replica.seed]
    return support.every_view() if replica.params["views"] else support


def centred(support: Support, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The class means `(K, D)` and the images less the mean of their class `(N, D)`, in float64."""
    one_hot = support.one_hot(classes).astype(np.float64)
    means = one_hot.T @ support.x / one_hot.sum(0).clip(1)[:, None]
    return means, support.x - means[support.y]


def discriminant(support: Support, classes: int) -> tuple[Floats, Floats]:
    """`W (K, D)` and `b (K,)`; both zero where every image is the mean of its class."""
    means, rest = centred(support, classes)
    scatter = rest.T @ rest  # (M − 1) Cov
    trace = np.trace(scatter) / max(1, len(rest) - 1)
    if trace == 0:  # the pseudo-inverse of zero is zero
        return np.zeros_like(means, np.float32), np.zeros(classes, np.float32)
    dim = len(scatter)
    weight = dim * np.linalg.solve(scatter + trace * np.eye(dim), means.T).T  # the ridge makes it invertible
    bias = log(1 / classes) - (weight * means).sum(1) / 2
    return weight.astype(np.float32), bias.astype(np.float32)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [GaussianDiscriminant]
