"""Metrics of logits `(M, K)` against labels `(M,)`, in NumPy: a cell of a second can't wait for torchmetrics' import.

The tests hold each of them to torchmetrics or scikit-learn.
"""

import numpy as np

from methods.contract.base import Array, Floats, Labels

ECE_BINS = 15


def hits(logits: Array, labels: Labels) -> Array:
    """Top-1 hits `(R, M)` of logits `(R, M, K)`; on a GPU a torch tensor, so that nothing is copied here."""
    if not isinstance(logits, np.ndarray) and logits.device.type == "cpu":
        logits = logits.detach().float().numpy()  # the same memory, and NumPy's argmax is four times as fast as torch's
    if isinstance(logits, np.ndarray):
        # The replicas may lie side by side in memory, and NumPy would copy what doesn't lie in order.
        turned = not logits.flags.c_contiguous
        guess = logits.swapaxes(0, 1).argmax(-1).T if turned else logits.argmax(-1)
        return guess == labels
    guess = logits.argmax(-1)
    import torch

    return guess == torch.as_tensor(labels, device=guess.device)


def log_softmax(logits: Floats) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """`(M, K)` in float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))


def are_probabilities(logits: Floats) -> bool:
    """Whether every row of `(M, K)` lies between 0 and 1 and sums to 1: what no cosine, distance or logarithm does."""
    inside = logits.min() >= -1e-6 and logits.max() <= 1 + 1e-6
    return bool(inside and np.abs(logits.sum(1, dtype=np.float64) - 1).max() < 1e-3)


def metrics(logits: Floats, labels: Labels) -> dict[str, float]:
    """Every metric of one classifier: fractions for the accuracies and ECE, nats for the likelihood."""
    right = logits.argmax(1) == labels
    log_probability = log_softmax(logits)
    return {
        "accuracy": float(right.mean()),
        "mean_per_class": mean_per_class(right, labels),
        "top5": top5(logits, labels),
        "nll": float(-log_probability[np.arange(len(labels)), labels].mean()),
        "ece": expected_calibration_error(np.exp(log_probability.max(1)), right),
    }


def mean_per_class(right: np.ndarray, labels: Labels) -> float:
    """The accuracy of each class that has images, averaged."""
    images = np.bincount(labels)
    correct = np.bincount(labels, weights=right, minlength=len(images))
    return float((correct[images > 0] / images[images > 0]).mean())


def top5(logits: Floats, labels: Labels) -> float:
    """Share of images whose class is among the five best; all of them where there are at most five classes.

    A tie counts against the classifier.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    return float(((logits >= own).sum(1) <= 5).mean()) if logits.shape[1] > 5 else 1.0


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over 15 equal bins, weighted by images (arXiv:1706.04599)."""
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(right))
