"""Is one method better than another, by how much, how sure: a paired bootstrap over seeds and images.

Methods share their supports and their queries, so their differences are paired: one resample draws seeds and images
with replacement and applies them to every method alike (the crossed bootstrap of Owen, arXiv:0712.1111). With few seeds
the intervals say little of the spread over supports: three seeds are three draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Accuracy of A minus accuracy of B, in fractions: the mean, its 95 % interval, a two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Bootstrap:
    """Resampled accuracies `samples (B, R)` of R rows on one data set and number of shots, and the observed `(R,)`."""

    observed: Floats
    samples: Floats

    def interval(self, row: int) -> tuple[float, float]:
        """The 95 % percentile interval of one row's accuracy."""
        return _interval(self.samples[:, row])

    def difference(self, a: int, b: int) -> Difference:
        """Row a against row b, resample by resample."""
        return difference(float(self.observed[a] - self.observed[b]), self.samples[:, a] - self.samples[:, b])


def bootstrap(correct: Sequence[NDArray[np.bool_]], seed: int = 0, resamples: int = RESAMPLES) -> Bootstrap:
    """Resample hits `(S, M)` of each row: S seeds, M images, the same for all. A row with one seed (zero-shot, which
    has no supports) stands for all S.

    Raises ValueError where the numbers of images or seeds don't match.
    """
    seeds = max(len(row) for row in correct)
    images = {row.shape[1] for row in correct}
    if len(images) != 1 or any(len(row) not in (1, seeds) for row in correct):
        raise ValueError(f"rows can't be paired: hits have shapes {sorted({row.shape for row in correct})}")
    hits = np.stack([np.broadcast_to(row, (seeds, row.shape[1])) for row in correct]).astype(np.float32)
    rng = np.random.default_rng(seed)
    count = images.pop()
    by_image = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float32) / count
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    samples = np.einsum("bm,rsm->brs", by_image, hits, optimize=True)
    return Bootstrap(hits.mean((1, 2), dtype=np.float64), np.einsum("brs,bs->br", samples, by_seed))


def difference(observed: float, samples: Floats) -> Difference:
    """A difference with its interval and p-value: twice the share of resamples on the far side of zero."""
    low, high = _interval(samples)
    far = min((samples <= 0).sum(), (samples >= 0).sum())
    return Difference(observed, low, high, min(1.0, 2 * (int(far) + 1) / (len(samples) + 1)))


def pooled(parts: Sequence[Bootstrap], a: int, b: int) -> Difference:
    """The mean difference over several cells, resampled independently of each other."""
    samples = np.mean([part.samples[:, a] - part.samples[:, b] for part in parts], axis=0)
    return difference(float(np.mean([part.observed[a] - part.observed[b] for part in parts])), samples)


def significant(differences: Sequence[Difference]) -> list[bool]:
    """Which differences stand at a false discovery rate of 5 % (Benjamini and Hochberg, by SciPy)."""
    from scipy.stats import false_discovery_control

    if not differences:
        return []
    adjusted = false_discovery_control([one.p for one in differences])
    return [bool(p <= 1 - LEVEL) for p in adjusted]


def _interval(samples: Floats) -> tuple[float, float]:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
