"""How the error falls with the number of labelled images: a power law with an offset, and what it says of more of them.

    err(n) = a n^-b + c,    a, c >= 0,    b from 0.01 to 5

is fitted by least squares (SciPy) to one minus the metric's mean over seeds, with n labelled images in all; each value
weighs by its standard error. For its band the fit is made anew of resampled errors: the images are resampled, the same
for every number of shots, and each number of shots gets the luck of its seeds as in `statistics`, on its own. The band
takes the law for granted. So where there are five numbers of shots it is also fitted without the largest, and what it
says there is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workflow.lib.reporting.statistics import LEVEL, Bootstrap, Floats, Spread

FEWEST = 4  # numbers of shots: the law has three numbers of its own
RESAMPLES = 200
TIMES = (2, 4)  # as many labels as there are
POWERS = (0.01, 5.0)
LEAST = 1e-4  # of a standard error, which is zero where all answers are right


@dataclass(frozen=True)
class Law:
    """`fall · (n / most)^-power + floor`: the error with n labelled images, of which there are `most`."""

    fall: float
    power: float
    floor: float
    most: float

    def error(self, images: Floats) -> Floats:
        """The error with so many labelled images."""
        return np.asarray(self.fall * (images / self.most) ** -self.power + self.floor)


@dataclass(frozen=True)
class Curve:
    """A row's metric with T numbers of labelled images: its means `(T,)` and their 95 % intervals `(T, 2)`.

    Where there is a law, `draws` are the laws of resampled errors; `check` is what the law that doesn't know the
    largest number says of it, if that can be told. Where there is none, `reason` says why.
    """

    images: Floats
    values: Floats
    intervals: Floats
    law: Law | None = None
    draws: Sequence[Law] = ()
    check: float | None = None
    reason: str = ""

    @property
    def misfit(self) -> float:
        """By how much the law misses the measured values at most."""
        return 0.0 if self.law is None else float(np.abs(1 - self.law.error(self.images) - self.values).max())

    def expected(self, images: Floats) -> Floats:
        """The metric that the law expects, and its 95 % band `(3, len(images))`: middle, low, high."""
        if self.law is None:
            raise ValueError(f"there is no law: {self.reason}")
        errors = np.stack([law.error(images) for law in self.draws])
        low, high = np.quantile(1 - errors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        middle = 1 - self.law.error(images)
        return np.stack([middle, np.minimum(low, middle), np.maximum(high, middle)])


def curve(places: Sequence[tuple[float, Bootstrap, int]]) -> Curve:
    """The curve of one row: at each place the number of labelled images, what was drawn there, and which row it is."""
    by_images = {images: (one, row) for images, one, row in places if images > 0}
    ordered = sorted(by_images.items())
    images = np.array([images for images, _ in ordered], dtype=np.float64)
    values = np.array([one.observed[row] for _, (one, row) in ordered])
    intervals = np.array([one.interval(row) for _, (one, row) in ordered]).reshape(-1, 2)
    draws = [_resampled(one, row, i) for i, (_, (one, row)) in enumerate(ordered)]
    if reason := _refused(draws):
        return Curve(images, values, intervals, reason=reason)
    spread = np.maximum(np.std(draws, axis=1), LEAST)
    laws = search(images, 1 - np.stack(draws)[:, :RESAMPLES], spread)
    law, check = fit(images, 1 - values, spread), None
    if len(images) > FEWEST:
        check = 1 - float(fit(images[:-1], 1 - values[:-1], spread[:-1]).error(images[-1:])[0])
    return Curve(images, values, intervals, law, laws, check)


def _refused(draws: Sequence[Floats]) -> str:
    """Why no law can be fitted; empty where it can."""
    if len(draws) < FEWEST:
        numbers = "1 number" if len(draws) == 1 else f"{len(draws)} numbers"
        return f"{numbers} of labelled images; the curve has three unknowns and wants at least {FEWEST}"
    if float((draws[-1] <= draws[0]).mean()) > (1 - LEVEL) / 2:
        return "no trend: with the most labels it isn't shown to be better than with the fewest"
    return ""


def _resampled(one: Bootstrap, row: int, place: int) -> Floats:
    """A row's metric on resampled images `(B,)`, with the luck of its seeds drawn on its own at each place."""
    order = np.random.default_rng([2, place]).permutation(len(one.spread.normal))
    spread = Spread(one.spread.normal[order], one.spread.chi2[order])
    sums, draws = one.sums[row] / one.divisor, one.draws[row] / one.divisor
    return np.asarray(draws.mean(0) + spread.draw(sums, draws))


def fit(images: Floats, errors: Floats, spread: Floats | float = 1.0) -> Law:
    """The law of errors `(T,)` with so many labelled images `(T,)` and standard errors `(T,)`, by least squares."""
    from scipy.optimize import least_squares

    share = np.log(images / images.max())
    weigh = np.broadcast_to(spread, share.shape)[:, None]

    def residuals(law: Floats) -> Floats:
        return np.asarray((law[0] * np.exp(-law[1] * share) + law[2] - errors) / spread)

    def slopes(law: Floats) -> Floats:
        falling = np.exp(-law[1] * share)
        return np.stack([falling, -law[0] * share * falling, np.ones_like(share)], axis=1) / weigh

    last = float(np.clip(errors[-1], 1e-3, 1))
    bounds = ([0, POWERS[0], 0], [1, POWERS[1], 1])
    starts = [(last * (1 - floor), power, last * floor) for floor, power in ((0.5, 0.5), (0.1, 0.2))]
    found = min((least_squares(residuals, start, slopes, bounds) for start in starts), key=lambda one: float(one.cost))
    fall, power, floor = map(float, found.x)
    return Law(fall, power, floor, float(images.max()))


def search(images: Floats, errors: Floats, spread: Floats) -> list[Law]:
    """The laws of resampled errors `(T, B)`: the least squares of `fit`, at once, with the best of 300 powers.

    For a given power the law is linear in the other two, and where one comes out negative it is zero.
    """
    powers = np.geomspace(*POWERS, 300)[:, None]
    falling = (images / images.max()) ** -powers  # (P, T)
    weight = spread**-2.0 / (spread**-2.0).sum()
    middle, mean = (falling @ weight)[:, None], weight @ errors
    own = falling - middle
    fall = (own * weight) @ errors / np.maximum(own**2 @ weight, 1e-300)[:, None]
    floor = mean - fall * middle
    alone = (falling * weight) @ errors / (falling**2 @ weight)[:, None]
    falls = np.maximum(np.where(floor < 0, alone, fall), 0)
    floors = np.where(fall < 0, mean, np.maximum(floor, 0))
    misses = sum(weight[t] * (falls * falling[:, [t]] + floors - errors[t]) ** 2 for t in range(len(images)))
    best, draws = np.argmin(misses, axis=0), np.arange(errors.shape[1])
    found = zip(falls[best, draws], powers[best, 0], floors[best, draws], strict=True)
    most = float(images.max())
    return [Law(float(fall), float(power), float(floor), most) for fall, power, floor in found]
