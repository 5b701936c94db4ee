"""When to say "unsure": which answers to give so that few of those given are wrong.

`confidence (M,)` is the probability of the answer, `right (M,)` whether it is true. An image is answered where the
confidence is at least the threshold (El-Yaniv and Wiener, JMLR 2010).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Right = NDArray[np.bool_]


def threshold(confidence: Numbers, right: Right, error: float) -> float:
    """The lowest threshold for which at most `error` of the answered should be wrong, from held-out images.

    The lowest at which (wrong + 1) / (answered + 1) ≤ error: one more answer is taken as wrong, so that few images
    promise little. With 1 / error - 1 images or fewer nothing can be promised: the threshold is infinite, and every
    image unsure.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    wrong = np.cumsum(~right[order])
    answered = np.arange(1, len(order) + 1)
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)[: len(order)]
    allowed = np.flatnonzero(last_of_equals & (wrong + 1 <= error * (answered + 1) + 1e-9))
    return float(ordered[allowed[-1]]) if len(allowed) else float("inf")


def answered(confidence: Numbers, right: Right, threshold: float) -> tuple[float, float]:
    """The share of images that are answered, and the share of these that are wrong: 0 where none is."""
    given = confidence >= threshold
    return float(given.mean()), float((~right[given]).mean()) if given.any() else 0.0


@dataclass(frozen=True)
class RiskCoverage:
    """The error of the i most confident answers, `risk (M,)`, and what share of images they are, `coverage (M,)`."""

    coverage: Numbers
    risk: Numbers

    @property
    def area(self) -> float:
        """The area under the curve (AURC): the mean risk over all shares of answered images."""
        return float(self.risk.mean())


def risk_coverage(confidence: Numbers, right: Right) -> RiskCoverage:
    """The curve from the surest answer to all of them; among equal confidences each is as wrong as all of them are."""
    groups, where = np.unique(-confidence, return_inverse=True)
    wrong = np.bincount(where, weights=~right, minlength=len(groups))
    images = np.bincount(where, minlength=len(groups))
    count = np.arange(1, len(right) + 1)
    return RiskCoverage(count / len(right), np.cumsum(np.repeat(wrong / images, images)) / count)
