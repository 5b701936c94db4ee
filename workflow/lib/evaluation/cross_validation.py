"""Cross-validation on the support alone: what `support_cv` chooses by.

Each seed's support is split into stratified folds. A method is fitted to the support without a fold, its candidates are
scored on the fold, and what the folds give together is the score of the candidate of the whole support at the same
point. A fold's replica has a seed of its own, so that a method needs to know nothing of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Array, Candidate, Floats, Labels, Method, Replica, Support, Task
from workflow.lib.evaluation import calibration, fitting, scoring
from workflow.lib.evaluation.folds import Fold, Supports, split
from workflow.lib.evaluation.protocol import Course, Queries, Score, answer

MARGIN = 0.5  # standard errors by which the best must beat what is configured
PASSED: Score = (-1.0,)  # of a candidate that is not the one: below every other score
KEPT = 2**28  # bytes of logits of the images left out, all candidates of a cell together

Point = Mapping[str, Any]


@dataclass
class Keeping:
    """Which logits of the images left out are kept: all candidates', or the `latest` one's, while memory is `left`."""

    latest: bool
    left: int = KEPT


class HeldOut(Course):
    """The scores of one replica's candidates on the fold that it was fitted without, summed over images.

    `logits` are those of each candidate, where they are kept: `(T, K)` of the T images of the fold, the rows `out` of
    the support, in float16 and less the largest of each image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[tuple[float, float]] = []
        self.logits: list[NDArray[np.float16]] = []
        self.out: Labels = np.zeros(0, np.int64)

    def keep(self, logits: Floats, out: Labels, keeping: Keeping) -> None:
        """Keep a candidate's logits, as far as these are wanted and there is memory."""
        if keeping.latest:
            self.logits.clear()
        elif (size := np.dtype(np.float16).itemsize * logits.size) <= keeping.left:
            keeping.left -= size
        else:
            return
        self.out = out
        self.logits.append(calibration.compact(logits))

    def logits_at(self, i: int, point: Point, count: int) -> NDArray[np.float16] | None:
        """Those of what candidate number i of `count`, at `point`, is here; None where they were not kept."""
        if len(self.logits) == len(self.points):
            return self.logits[counterpart(i, point, count, self.points)]
        return self.logits[0] if self.logits and i == count - 1 and len(self.logits) == 1 else None


class FoldJudge:
    """Scores the candidates of a seed's folds, each on its own fold: those are the only queries that it asks about."""

    def __init__(
        self,
        support: Support,
        folds: Sequence[Fold],
        classes: int,
        on_device: Callable[[Array], Array],
        metric: str = "accuracy",
        keeping: Keeping | None = None,
    ) -> None:
        self._keeping = keeping
        self._support, self._classes, self._on_device, self._metric = support, classes, on_device, metric
        self._out = {fold.seed: fold.out for fold in folds}
        self._known: dict[tuple[int, ...], tuple[Queries, Labels, Labels]] = {}

    def outcome(self) -> HeldOut:
        """One that has seen no candidate."""
        return HeldOut()

    def __call__(self, candidate: Candidate, outcomes: Mapping[Replica, HeldOut]) -> None:
        """Score a candidate of several replicas and hand each its part."""
        seeds = tuple(replica.seed for replica in candidate.replicas)
        if seeds not in self._known:  # the same array for every candidate: a method may keep what it has computed
            self._known[seeds] = self._queries(seeds)
        queries, who, rows = self._known[seeds]
        logits = _picked(answer(candidate, queries, self._classes), who, rows)
        for i, replica in enumerate(candidate.replicas):
            own = slice(*np.searchsorted(who, [i, i + 1]))
            outcomes[replica].points.append(candidate.point)
            outcomes[replica].scores.append(scoring.held_out(logits[own], queries.y[rows[own]], self._metric))
            if self._keeping:
                outcomes[replica].keep(logits[own], self._out[replica.seed], self._keeping)

    def _queries(self, seeds: Sequence[int]) -> tuple[Queries, Labels, Labels]:
        """The images of all these folds, and which of them (`rows`) are the fold of which replica (`who`)."""
        asked = np.unique(np.concatenate([self._out[seed] for seed in seeds]))
        who = np.repeat(np.arange(len(seeds)), [len(self._out[seed]) for seed in seeds])
        rows = np.searchsorted(asked, np.concatenate([self._out[seed] for seed in seeds]))
        return Queries(self._on_device(self._support.x[asked]), self._support.y[asked]), who, rows


def _picked(logits: Array, who: Labels, rows: Labels) -> Floats:
    """Row `rows[i]` of replica `who[i]`, `(T, K)`, in NumPy."""
    if isinstance(logits, np.ndarray):
        picked: Floats = logits[who, rows]
        return picked
    import torch

    where = [torch.as_tensor(index, device=logits.device) for index in (who, rows)]
    own: Floats = logits.detach()[where[0], where[1]].float().cpu().numpy()
    return own


class Table:
    """What the candidates of one replica score out of its folds, and which of them is therefore taken.

    The judge of the whole support asks it, candidate by candidate.
    """

    def __init__(self, folds: Sequence[HeldOut], images: int) -> None:
        self._images, self._folds = images, folds
        self.points: Sequence[Point] = folds[0].points
        self.seconds = sum(fold.fit_seconds for fold in folds)
        count = len(self.points)
        alike = [
            [fold.scores[counterpart(i, point, count, fold.points)] for fold in folds]
            for i, point in enumerate(self.points)
        ]
        self._decide([(float(m), float(n)) for m, n in np.sum(alike, axis=1) / images])

    def _decide(self, scores: Sequence[Score]) -> None:
        self.scores = scores
        self.chosen = preferred(scores, len(scores) - 1, self._images)

    def __call__(self, i: int) -> Score:
        """The score of the candidate number i of the whole support, if it is the one that is taken."""
        return self.scores[i] if i == self.chosen else PASSED

    def held(self, i: int, point: Point, count: int) -> NDArray[np.float16] | None:
        """The logits `(N, K)` of the support out of its folds, of what is candidate number i of `count`, at `point`."""
        found = [fold.logits_at(i, point, count) for fold in self._folds]
        known = [one for one in found if one is not None]
        order = np.argsort(np.concatenate([fold.out for fold in self._folds]))
        return np.concatenate(known)[order] if len(known) == len(found) else None

    def fits(self, points: Sequence[Point]) -> bool:
        """Whether the whole support gave as many candidates as its folds.

        If not, the table is made one of these points, and what was chosen by it before is to be chosen again.
        """
        if len(points) == len(self.points):
            return True
        count = len(points)
        self._decide([self.scores[counterpart(i, point, count, self.points)] for i, point in enumerate(points)])
        self.points = points
        return False


def preferred(scores: Sequence[Score], default: int, images: int) -> int:
    """Which of several scores `(metric, log-likelihood)` out of folds is taken, the metric a share of `images`.

    The best metric; of equals the likeliest, and of these the first. But the default stays where it is within half a
    standard error of the best: a choice among many on few images is mostly noise.
    """
    best = max(range(len(scores)), key=scores.__getitem__)
    top = scores[best][0]
    error = (max(0.0, top * (1 - top)) / images) ** 0.5
    return default if top - scores[default][0] <= MARGIN * error else best


def counterpart(i: int, point: Point, count: int, points: Sequence[Point]) -> int:
    """Which candidate of a fold, with these points, is what number i of `count`, at `point`, is of another support.

    The one of the same number where there are equally many: grids, epochs, and steps of trainings of equal length.
    Otherwise that of the same epoch; of steps, that at the same fraction of the training.
    """
    if count == len(points):
        return i
    if "epoch" in point:
        return min(range(len(points)), key=lambda j: abs(points[j].get("epoch", 0) - point["epoch"]))
    return max(0, round((i + 1) * len(points) / count) - 1)


def tables(
    method: Method,
    task: Task,
    replicas: Sequence[Replica],
    on_device: Callable[[Array], Array],
    metric: str,
    keep_all: bool,
    keeping: Keeping | None = None,
) -> dict[Replica, Table]:
    """The table of every replica whose support has folds; without those that yield one candidate, unless `keep_all`.

    A seed's folds are trained side by side: with an engine in one run, as far as they are of one size.
    """
    found: dict[Replica, list[HeldOut]] = {}
    settled: set[str] = set()  # variants that have nothing to choose
    for seed in sorted({replica.seed for replica in replicas}):
        whole = task.supports[seed]
        folds = split(seed, whole.y)
        judge = FoldJudge(whole, folds, task.classes, on_device, metric, keeping)
        for group in _groups(method, folds):
            own = [replica for replica in replicas if replica.seed == seed and replica.variant not in settled]
            if not own:
                break
            without = replace(task, supports=Supports(whole, group))
            asked = {Replica(one.variant, one.params, fold.seed): one for one in own for fold in group}
            for fold_replica, held in _fitted(method, without, list(asked), judge, seed).items():
                found.setdefault(asked[fold_replica], []).append(held)
                if len(held.points) == 1 and not keep_all:
                    settled.add(fold_replica.variant)
    return {
        replica: Table(held, len(task.supports[replica.seed].y))
        for replica, held in found.items()
        if replica.variant not in settled
    }


def _fitted(
    method: Method, task: Task, replicas: Sequence[Replica], judge: FoldJudge, seed: int
) -> dict[Replica, HeldOut]:
    """What replicas of folds came to; an error notes where it was, for the seeds of folds say nothing to a reader."""
    try:
        return fitting.outcomes(method, task, replicas, judge)
    except Exception as error:
        error.add_note(f"in the cross-validation of the support of seed {seed}")
        raise


def _groups(method: Method, folds: Sequence[Fold]) -> Iterator[list[Fold]]:
    """The folds that go to the method together: side by side where it has an engine, which takes equal sizes only."""
    if not method.engine:
        yield from ([fold] for fold in folds)
        return
    for _, group in groupby(sorted(folds, key=_size), key=_size):
        yield list(group)


def _size(fold: Fold) -> int:
    return len(fold.rest)
