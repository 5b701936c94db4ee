"""Calibration: probabilities that can be taken at their word, from images that the classifier was not fitted to.

Logits are `(M, K)` of M images and K classes, labels `(M,)`. What is fitted here is never fitted to the reported split:
the caller gives held-out images. The measures are those of `scoring`, in nats, fractions and 0 to 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Floats, Labels
from workflow.lib.evaluation import scoring
from workflow.lib.evaluation.scoring import ECE_BINS, LogProbabilities

Numbers = NDArray[np.float64]
RANGE = 100.0  # the temperature lies within this factor of the spread of the logits, either way
WRONG = 1.0  # images of the class that came second: taken as seen beside those that were
UNKNOWN = 1.0  # images that may be of any class, for isotonic regression
ENOUGH = 2**18  # logits: one number needs no more of them, and is found in a tenth of a second


def temperature(logits: Floats, labels: Labels, wrong: float = WRONG) -> float:
    """The T > 0 for which `softmax(logits / T)` has the least NLL on held-out images (Guo et al., arXiv:1706.04599).

    M images that are all right would ask for certainty, T = 0, however few they are. So `wrong` images more are taken
    as seen: they look like the others, and are of the class that came second. One makes the chance of an error about
    1/M where there was none, and changes little where there were some; 0 gives the plain minimum of the NLL.
    The sum is convex in 1/T. Of more than 262144 logits every second image counts, or every third, and so on. 1.0
    where there are no images, or the logits tell no class from another.
    """
    from scipy.optimize import minimize_scalar  # a cell without anything to calibrate need not wait for it

    step = -(-logits.size // ENOUGH) or 1
    logits, labels = logits[::step], labels[::step]
    spread = float(logits.std(1, dtype=np.float64).mean()) if len(labels) else 0.0
    if not spread > 0:
        return 1.0
    unit = (logits.astype(np.float64) - logits.max(1, keepdims=True)) / spread
    second = np.partition(unit, -2, axis=1)[:, -2].mean()
    own = unit[np.arange(len(labels)), labels].sum() + wrong * second
    weight = (len(labels) + wrong) / len(labels)

    def loss(log_inverse: float) -> float:
        inverse = np.exp(log_inverse)
        return float(weight * np.log(np.exp(inverse * unit).sum(1)).sum() - inverse * own)

    limit = float(np.log(RANGE))
    found = minimize_scalar(loss, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-5})
    return spread / float(np.exp(found.x))


def compact(logits: Floats) -> NDArray[np.float16]:
    """Logits less the largest of each image, so that float16 holds what tells the likely classes apart."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.maximum(shifted, np.finfo(np.float16).min).astype(np.float16)


def scaled(logits: Floats, temperature: float) -> LogProbabilities:
    """Logarithms of the probabilities at a temperature, `(M, K)` in float64."""
    return scoring.log_softmax(logits.astype(np.float64) / temperature)


@dataclass(frozen=True)
class Isotonic:
    """A step-wise linear map of each class's probability, from its points `(x, y)`; of so many `images`."""

    maps: Sequence[tuple[Numbers, Numbers]]
    images: int

    def __call__(self, log_probability: LogProbabilities) -> LogProbabilities:
        """Calibrated `(M, K)`: each class's map, scaled to a sum of 1 (Zadrozny and Elkan, KDD 2002).

        One more image, of any class with equal chance, keeps a class that was never right from a probability of 0.
        """
        probability = np.exp(log_probability)
        mapped = np.stack([np.interp(probability[:, k], x, y) for k, (x, y) in enumerate(self.maps)], axis=1)
        total = mapped.sum(1, keepdims=True)
        classes = len(self.maps)
        share = np.where(total > 0, mapped / np.where(total > 0, total, 1), 1 / classes)
        return np.asarray(np.log((self.images * share + UNKNOWN / classes) / (self.images + UNKNOWN)))


def isotonic(log_probability: LogProbabilities, labels: Labels) -> Isotonic:
    """For each class, isotonic regression of "is of the class" on its probability `(M, K)`, by scikit-learn.

    It has far more freedom than a temperature: a class needs some tens of images. Of a class without any the map is 0.
    """
    from sklearn.isotonic import IsotonicRegression

    maps = []
    for k in range(log_probability.shape[1]):
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        fitted.fit(np.exp(log_probability[:, k]), labels == k)
        maps.append((np.asarray(fitted.X_thresholds_, float), np.asarray(fitted.y_thresholds_, float)))
    return Isotonic(maps, len(labels))


def quality(log_probability: LogProbabilities, labels: Labels) -> dict[str, float]:
    """`nll` in nats, `ece` over 15 equal bins of the confidence, and `brier`, from 0 to 2."""
    guess = log_probability.argmax(1)
    return {
        "nll": float(-log_probability[np.arange(len(labels)), labels].mean()),
        "ece": scoring.expected_calibration_error(np.exp(log_probability.max(1)), guess == labels),
        "brier": float(scoring.brier(log_probability, labels).mean()),
    }


@dataclass(frozen=True)
class Reliability:
    """What the bins of a reliability diagram hold, `(B,)` each: images, mean confidence, accuracy; NaN where empty."""

    images: NDArray[np.int64]
    confidence: Numbers
    accuracy: Numbers


def reliability(confidence: Numbers, right: NDArray[np.bool_], bins: int = ECE_BINS) -> Reliability:
    """Of confidences `(M,)` and whether the answers were right `(M,)`, in the bins that `ece` is summed over."""
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    images = np.bincount(where, minlength=bins)
    sums = [np.bincount(where, weights=values, minlength=bins) for values in (confidence, right)]
    means = [np.divide(total, images, out=np.full(bins, np.nan), where=images > 0) for total in sums]
    return Reliability(images, *means)
