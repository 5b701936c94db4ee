"""What may be looked at before the reported split: which of a replica's candidates is the one that counts.

One mechanism for epochs and grids: a method yields candidates, each is scored once on the reported split and on the
splits that the regimes look at, and every regime keeps its own choice. What `support_cv` scores it has from elsewhere:
see `cross_validation`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from methods.contract.base import Array, Candidate, Floats, Labels, Replica
from workflow.lib.evaluation import scoring
from workflow.lib.evaluation.sealed import ADVICE, read_only
from workflow.lib.evaluation.trust import Trust

CROSS_VALIDATION = "support_cv"
REGIMES = {
    "last": "nothing was looked at: parameters as configured, the last epoch",
    CROSS_VALIDATION: "epoch and hyperparameters chosen by cross-validation on the support alone",
    "val_fewshot": "epoch and hyperparameters chosen on min(shots, 4) images per class of val",
    "val_full": "epoch and hyperparameters chosen on all of val",
    "report": "epoch and hyperparameters chosen on the reported split itself: flatters",
}


@dataclass(frozen=True)
class Queries:
    """Images to classify `x (M, D)`, which can't be written to in NumPy, with their labels `y (M,)`."""

    x: Array
    y: Labels

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", read_only(self.x))


Weigh = Callable[[Candidate, Floats], int | None]
Score = tuple[float, ...]  # the larger the better; what follows the first number breaks ties


@dataclass
class Choice:
    """What one regime has chosen for one replica so far: the best candidate's point and reported logits `(M, K)`.

    `score` is empty where the regime had nothing to choose by. `number` is which candidate it is. `held (n, K)` are its
    logits of images that it was not fitted to, which calibrate it, and `trust` is what comes of these.
    """

    point: Mapping[str, Any] = field(default_factory=dict)
    logits: Array = None
    score: Score = ()
    number: int = 0
    held: Array = None
    trust: Trust | None = None

    def final(self) -> Floats:
        """The logits in NumPy; half precision, which NumPy lacks in part, becomes float32."""
        return in_numpy(self.logits)


def in_numpy(logits: Array) -> Floats:
    """Logits from wherever they are."""
    return logits if isinstance(logits, np.ndarray) else logits.detach().float().cpu().numpy()


class Course:
    """One replica's candidates as they come: their points, the time that they took and the remarks on them."""

    def __init__(self) -> None:
        self.points: list[Mapping[str, float]] = []
        self.fit_seconds = 0.0
        self.notes: list[str] = []

    def leave_device(self) -> None:
        """Keep nothing on the device: its memory is for those that are still to come."""

    def twin(self) -> Self:
        """Another one with lists of its own: what is added to this one is not added to that."""
        own = copy(self)
        vars(own).update({name: copy(value) for name, value in vars(self).items() if isinstance(value, list)})
        return own


class Outcome(Course):
    """The curve of a replica on the reported split, and each regime's choice.

    `on_val` are the regimes whose choices keep their logits of val.
    """

    def __init__(self, regimes: Sequence[str], on_val: Collection[str] = ()) -> None:
        super().__init__()
        self._on_val = on_val
        self.choices = {regime: Choice() for regime in regimes}
        self.curve: list[float] = []
        self.cv_seconds = 0.0  # what the fits without a fold took
        self.size: int | None = None  # bytes of the classifier as data, where it was weighed

    @property
    def seconds(self) -> float:
        """What all its fits took."""
        return self.fit_seconds + self.cv_seconds

    def add(
        self, candidate: Candidate, logits: Array, scores: Mapping[str, Score], reported: float, val: Array = None
    ) -> None:
        """Take a candidate's reported logits `(M, K)`, its score in each regime, and its logits of val where known.

        The earlier one wins a tie. Where a regime has no score, the latest candidate counts.
        """
        self.points.append(candidate.point)
        self.curve.append(reported)
        for regime, choice in self.choices.items():
            if scores[regime] and scores[regime] <= choice.score:
                continue
            own = _copied if scores[regime] else _same
            choice.point, choice.logits, choice.number = candidate.point, own(logits), len(self.points) - 1
            choice.score = scores[regime]
            if regime in self._on_val:
                choice.held = own(val)

    def twin(self) -> Self:
        own = super().twin()
        own.choices = {regime: copy(choice) for regime, choice in self.choices.items()}
        return own

    def leave_device(self) -> None:
        for choice in self.choices.values():
            choice.logits = choice.final()
            choice.held = None if choice.held is None else in_numpy(choice.held)


def _same(logits: Array) -> Array:
    return logits


def _copied(logits: Array) -> Array:
    """Of its own memory: as a part of all replicas' logits it would hold these as well."""
    return logits.copy() if isinstance(logits, np.ndarray) else logits.clone()


class Judge:
    """Scores candidates by the study's metric: on the reported split always, on `val` where a regime looks at it.

    `held_out` has what cross-validation has found, by replica: the score of a candidate by its number. A replica
    without it has nothing to be chosen by. `on_val` are the regimes whose choices are calibrated on val. `weigh` says
    how large a classifier is: it is asked once for each variant.
    """

    def __init__(
        self,
        regimes: Sequence[str],
        classes: int,
        report: Queries,
        val: Queries | None,
        few: Mapping[int, Labels],
        metric: str = "accuracy",
        held_out: Mapping[Replica, Callable[[int], Score]] | None = None,
        on_val: Collection[str] = (),
        weigh: Weigh | None = None,
    ) -> None:
        self._regimes, self._classes, self._metric = regimes, classes, metric
        self._report, self._val, self._few = report, val, few
        self._held_out, self._on_val, self._weigh = held_out or {}, on_val, weigh
        self._chooses_on_val = any(regime.startswith("val_") for regime in regimes)

    def outcome(self) -> Outcome:
        """One that has seen no candidate."""
        return Outcome(self._regimes, self._on_val)

    def __call__(self, candidate: Candidate, outcomes: Mapping[Replica, Outcome]) -> None:
        """Score a candidate of several replicas and hand each its part."""
        logits = answer(candidate, self._report, self._classes)
        reported = scoring.Answers(self._metric, logits, self._report.y).scores
        answers = None if self._val is None else answer(candidate, self._val, self._classes)
        val = scoring.Answers(self._metric, answers, self._val.y) if self._val and self._chooses_on_val else None
        for i, replica in enumerate(candidate.replicas):
            known = self._held_out.get(replica)
            held_out = known(len(outcomes[replica].points)) if known else ()
            chosen = {"last": (), "report": (reported[i],), CROSS_VALIDATION: held_out}
            scores = {
                regime: chosen[regime] if regime in chosen else self._score(regime, replica, val, i)
                for regime in self._regimes
            }
            outcomes[replica].add(candidate, logits[i], scores, reported[i], None if answers is None else answers[i])
            if self._weigh and replica.seed == 0 and len(outcomes[replica].points) == 1:
                outcomes[replica].size = self._weigh(candidate, in_numpy(self._report.x))

    def _score(self, regime: str, replica: Replica, val: scoring.Answers | None, i: int) -> Score:
        assert val is not None  # a regime that looks at val has it read
        return (val.scores[i] if regime == "val_full" else val.score(i, self._few[replica.seed]),)


def answer(candidate: Candidate, queries: Queries, classes: int) -> Array:
    """Logits `(R, M, K)`, checked: a plugin's wrong shape or NaN is an error that names the replica."""
    try:
        logits = candidate.logits(queries.x)
    except (Exception, SystemExit) as error:
        error.add_note(f"at {candidate.replicas[0]}, classifying")
        if "read-only" in str(error):
            error.add_note(f"({ADVICE})")
        raise
    expected = (len(candidate.replicas), len(queries.y), classes)
    found = tuple(getattr(logits, "shape", ()))
    if found != expected:
        raise ValueError(f"{candidate.replicas[0]}: logits have shape {found}, expected {expected}")
    with np.errstate(over="ignore"):
        sums = logits.sum((1, 2)).tolist()
    for i, (replica, total) in enumerate(zip(candidate.replicas, sums, strict=True)):
        # The sum is cheap, but of large logits it may overflow.
        if not (np.isfinite(total) or np.isfinite(logits[i].tolist()).all()):
            raise ValueError(f"{replica}: logits are not finite at {dict(candidate.point)}")
    return logits
