"""Gaussian discriminant analysis with one covariance for all classes, as GDA estimates it (arXiv:2402.04087)."""

from math import log

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Floats, Support


def centred(support: Support, classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The class means `(K, D)` and the images less the mean of their class `(N, D)`, in float64."""
    one_hot = support.one_hot(classes).astype(np.float64)
    means = one_hot.T @ support.x / one_hot.sum(0).clip(1)[:, None]
    return means, support.x - means[support.y]


def discriminant(support: Support, classes: int) -> tuple[Floats, Floats]:
    """The paper's `W (K, D)` and `b (K,)`; both zero where every image is the mean of its class."""
    means, rest = centred(support, classes)
    scatter = rest.T @ rest  # (M − 1) Cov
    trace = np.trace(scatter) / max(1, len(rest) - 1)
    return linear(means, scatter, trace, len(scatter))


def linear(
    means: NDArray[np.float64], scatter: NDArray[np.float64], trace: float, scale: float
) -> tuple[Floats, Floats]:
    """W and b of `Σ⁻¹ = scale · pinv(scatter + trace I)`."""
    if trace == 0:  # the pseudo-inverse of zero is zero
        return np.zeros_like(means, np.float32), np.zeros(len(means), np.float32)
    ridge = scatter + trace * np.eye(len(scatter))  # which makes it invertible
    weight = scale * np.linalg.solve(ridge, means.T).T
    bias = log(1 / len(means)) - (weight * means).sum(1) / 2
    return weight.astype(np.float32), bias.astype(np.float32)
