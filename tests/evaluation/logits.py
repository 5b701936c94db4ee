"""Logits drawn from a known law, so that the true probabilities are known too."""

import numpy as np

from methods.contract.base import Floats, Labels


def drawn(images: int, classes: int = 5, seed: int = 0, sharpness: float = 1.0) -> tuple[Floats, Labels]:
    """Logits `(M, K)`, and labels drawn with the probabilities `softmax(logits / sharpness)`: a temperature."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(images, classes)) * 2
    probability = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    labels = (probability.cumsum(1) > rng.random((images, 1))).argmax(1)
    return (true * sharpness).astype(np.float32), labels.astype(np.int64)
