"""Is one row better than another, by how much, how sure: paired over seeds and images, at the level that it states.

Rows share their supports and their images, so their differences are paired. A value with seed s on the image m is taken
as `mean + seed effect + image effect + rest`; images and seeds are both samples, of photographs and of supports. Three
terms make the spread of a mean over S seeds and M images: `seed / S + image / M + rest / (S M)`.

- Images are many, so they are resampled: 10 000 draws, the same for every row, seed, backbone and number of shots of a
  dataset. The spread of the mean over draws is the image term and the rest term together.
- Seeds are few, and resampling three of them gives intervals that are too short: their variance comes out at
  (S - 1) / S, and three values have no tails. In place of it each draw gets a normal deviation whose variance is drawn
  from what S seeds say of it: the variance s² between seeds estimates `seed + rest / M` with S - 1 degrees of freedom,
  so `(S - 1) s² / χ² - rest / M`, not below zero, over S. (This is the generalised pivot of Weerahandi, 1993; without
  images it is Student's t, with both the solution of Behrens and Fisher.) `rest / M` is the variance over draws of one
  seed's value that the other seeds don't share.

With one seed nothing is known of other seeds, and the intervals are about images alone.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 2**20  # weights in memory at a time
ZERO = 1e-12  # sums of the same fractions in another order differ by less, and of other whole counts by more


@dataclass(frozen=True)
class Difference:
    """The metric of A minus that of B, in fractions: the mean, its 95 % interval, a two-sided p-value."""

    mean: float
    low: float
    high: float
    p: float

    def __neg__(self) -> "Difference":
        return Difference(-self.mean, -self.high, -self.low, self.p)


@dataclass(frozen=True)
class Terms:
    """A metric of one row as a sum over images: `(offset + Σ terms) / divisor`, offsets `(S,)` and terms `(S, M)`.

    An image that is drawn w times counts w times. Whole numbers stay whole until they are divided, once.
    """

    terms: Floats
    offset: Floats
    divisor: float = 1.0

    def over(self, seeds: int) -> "Terms":
        """The same for `seeds` seeds; a row with one (zero-shot, which has no supports) stands for all."""
        shape = (seeds, self.terms.shape[1])
        return Terms(np.broadcast_to(self.terms, shape), np.broadcast_to(self.offset, (seeds,)), self.divisor)


@dataclass(frozen=True)
class Spread:
    """What is drawn for the seeds of a dataset: normal deviations and values of χ² with S - 1 degrees, `(B,)` each."""

    normal: Floats
    chi2: Floats

    def draw(self, seeds: Floats, draws: Floats) -> Floats:
        """Deviations `(B,)` of a mean over seeds: of values `(S,)`, and those on the resampled images `(S, B)`."""
        count = len(seeds)
        if count < 2:
            return np.zeros(draws.shape[1])
        own = (draws - draws.mean(0)).var(1).sum() / (count - 1)
        variance = (count - 1) * seeds.var(ddof=1) / self.chi2 - own
        turned = -1 if seeds[seeds != 0][:1].sum() < 0 else 1  # so that B against A is A against B, turned
        return turned * self.normal * np.sqrt(np.maximum(variance, 0) / count)


@dataclass(frozen=True)
class Bootstrap:
    """R rows at one place: their sums with each seed `(R, S)`, on resampled images `(R, S, B)`, not yet divided."""

    sums: Floats
    draws: Floats
    divisor: float
    spread: Spread

    @property
    def observed(self) -> Floats:
        """The metric of each row `(R,)`."""
        return self.sums.sum(1) / (self.divisor * self.sums.shape[1])

    def interval(self, row: int) -> tuple[float, float]:
        """The 95 % interval of one row's metric, which is a fraction."""
        found = summary(self.sums[row], self.draws[row], self.divisor, self.spread)
        return max(found.low, 0.0), min(found.high, 1.0)

    def difference(self, a: int, b: int) -> Difference:
        """Row a against row b, draw by draw."""
        return summary(*self.between(a, b), self.divisor, self.spread)

    def between(self, a: int, b: int) -> tuple[Floats, Floats]:
        """Row a minus row b, with each seed `(S,)`, and on resampled images `(S, B)`."""
        return self.sums[a] - self.sums[b], self.draws[a] - self.draws[b]


def summary(sums: Floats, draws: Floats, divisor: float, spread: Spread) -> Difference:
    """The mean of sums over seeds `(S,)` with its interval, and the p-value: twice the share of draws beyond zero."""
    seeds = len(sums)
    deviations = spread.draw(sums / divisor, draws / divisor)
    samples = draws.sum(0) / (divisor * seeds) + deviations
    return _summary(float(sums.sum()) / (divisor * seeds), samples)


def _summary(mean: float, samples: Floats) -> Difference:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    beyond = min(int((samples <= ZERO).sum()), int((samples >= -ZERO).sum()))
    return Difference(mean, float(low), float(high), min(1.0, 2 * (beyond + 1) / (len(samples) + 1)))


def bootstrap(
    places: Sequence[Sequence[Terms]],
    classes: NDArray[np.int64] | None = None,
    name: str = "",
    resamples: int = RESAMPLES,
) -> list[Bootstrap]:
    """Resample the images that rows at several places share; within `classes (M,)` where these are given.

    `name` is that of the dataset: the same name draws the same images, another name others. Raises ValueError where the
    numbers of images, or at one place those of seeds, don't match.
    """
    full = [paired(rows) for rows in places]
    terms = np.concatenate([row.terms for rows in full for row in rows])
    drawn = np.empty((len(terms), resamples))
    first = 0
    for part in weights(terms.shape[1], classes, name, resamples):
        np.matmul(terms, part.T, out=drawn[:, first : first + len(part)])
        first += len(part)
    cuts = np.cumsum([sum(len(row.terms) for row in rows) for rows in full])[:-1]
    return [_of_place(rows, part, name) for rows, part in zip(full, np.split(drawn, cuts), strict=True)]


def paired(rows: Sequence[Terms]) -> list[Terms]:
    """Rows with as many seeds as any of them has."""
    seeds = max(len(row.terms) for row in rows)
    if len({row.terms.shape[1] for row in rows}) != 1 or any(len(row.terms) not in (1, seeds) for row in rows):
        raise ValueError(f"rows can't be paired: terms have shapes {sorted({row.terms.shape for row in rows})}")
    return [row.over(seeds) for row in rows]


def _of_place(rows: Sequence[Terms], drawn: Floats, name: str) -> Bootstrap:
    """The rows of one place, with what was drawn of them `(R S, B)`."""
    offset = np.stack([row.offset for row in rows])
    shape = offset.shape
    sums = np.stack([row.terms.sum(1) for row in rows]) + offset
    draws = drawn.reshape(*shape, -1) + offset[:, :, None]
    return Bootstrap(sums, draws, rows[0].divisor, _spread(shape[1], name, drawn.shape[1]))


def _spread(seeds: int, name: str, resamples: int) -> Spread:
    rng = np.random.default_rng([seeds, zlib.crc32(name.encode())])
    chi2 = rng.chisquare(seeds - 1, resamples) if seeds > 1 else np.ones(resamples)
    return Spread(rng.standard_normal(resamples), chi2)


def weights(images: int, classes: NDArray[np.int64] | None, name: str, resamples: int) -> Iterator[Floats]:
    """How often each image is drawn, `(b, M)` at a time.

    Within classes, of n images n - 1 are drawn, and each counts n / (n - 1): the class keeps its size, and the spread
    is that of a sample of n (Rao and Wu, 1988), which matters for classes of few images. The one of a class is kept.
    """
    rng = np.random.default_rng([0, zlib.crc32(name.encode())])
    order, sizes = np.arange(images), np.array([images])
    if classes is not None:
        order, sizes = np.argsort(classes, kind="stable"), np.unique(classes, return_counts=True)[1]
    count = sizes if classes is None else np.maximum(sizes - 1, 1)
    high, start = np.repeat(sizes, count), np.repeat(np.cumsum(sizes) - sizes, count)
    factor = np.empty(images)
    factor[order] = np.repeat(sizes / count, sizes)
    chunk = max(1, _CHUNK // images)
    for first in range(0, resamples, chunk):
        rows = min(chunk, resamples - first)
        drawn = rng.integers(0, images if classes is None else high, (rows, len(high)))
        if classes is not None:
            drawn = order[drawn + start]
        drawn += images * np.arange(rows)[:, None]
        found = np.bincount(drawn.ravel(), minlength=rows * images)
        yield found.reshape(rows, images) * factor


def pooled(parts: Sequence[tuple[str, Bootstrap, int, int]]) -> Difference:
    """The mean difference over several places `(dataset, bootstrap, a, b)`.

    The places of one dataset share images and, where they have as many, seeds: they are drawn together. Datasets are
    drawn independently of each other.
    """
    groups: dict[tuple[str, int], list[tuple[Floats, Floats]]] = {}
    spreads = {}
    for dataset, one, a, b in parts:
        sums, draws = one.between(a, b)
        key = dataset, len(sums)
        groups.setdefault(key, []).append((sums / one.divisor, draws / one.divisor))
        spreads[key] = one.spread
    mean, samples = 0.0, np.zeros(parts[0][1].draws.shape[2])
    for key, found in groups.items():
        sums, draws = (np.sum([one[i] for one in found], axis=0) / len(parts) for i in (0, 1))
        mean += float(sums.mean())
        samples += draws.mean(0) + spreads[key].draw(sums, draws)
    return _summary(mean, samples)


def significant(differences: Sequence[Difference]) -> list[bool]:
    """Which differences stand at a false discovery rate of 5 % (Benjamini and Hochberg, by SciPy)."""
    from scipy.stats import false_discovery_control

    if not differences:
        return []
    adjusted = false_discovery_control([one.p for one in differences])
    return [bool(p <= 1 - LEVEL) for p in adjusted]
