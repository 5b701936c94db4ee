"""All that held-out images say of how far to trust a classifier: a temperature, thresholds of sets, when it is unsure.

One mechanism for a study, which measures it on the reported split, and for a classifier that is shipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Floats, Labels
from workflow.lib.evaluation import abstention, calibration, conformal, scoring
from workflow.lib.evaluation.scoring import LogProbabilities

Numbers = NDArray[np.float64]
CALIBRATIONS = ("temperature", "isotonic")
_SLICE = 2**22  # logits that are judged at a time


@dataclass(frozen=True)
class Settings:
    """What is asked for: the level of sets, the error among the answered, and how probabilities are calibrated."""

    level: float = 0.9
    error: float = 0.05
    method: str = "temperature"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """From what a study says; which images are held out is no part of it."""
        return cls(**{key: value for key, value in given.items() if key != "held_out"})


@dataclass(frozen=True)
class Calibrator:
    """Fitted to held-out images: apply it to the logits of others.

    `counts (K,)` are the held-out images of each class; `marginal` and `mondrian (K,)` the thresholds of sets, of 1
    less the probability, infinite where the images are too few; `unsure` the confidence below which no answer is given,
    infinite where none can be. Sets and `unsure` are of the probabilities at the `temperature`, also where isotonic
    regression calibrates: fitted to the same images, its freedom would cost them their level.
    """

    settings: Settings
    temperature: float
    isotonic: calibration.Isotonic | None
    counts: NDArray[np.int64]
    marginal: Numbers
    mondrian: Numbers
    unsure: float

    def tempered(self, logits: Floats) -> LogProbabilities:
        """Logarithms of the probabilities at the temperature, `(M, K)`."""
        return calibration.scaled(logits, self.temperature)

    def calibrated(self, tempered: LogProbabilities) -> LogProbabilities:
        """Logarithms of the calibrated probabilities, `(M, K)`, from `tempered` ones."""
        return self.isotonic(tempered) if self.isotonic else tempered


def fit(logits: Floats, labels: Labels, settings: Settings) -> Calibrator:
    """From the logits `(n, K)` of n ≥ 1 images that the classifier was not fitted to, and their labels `(n,)`."""
    temperature = calibration.temperature(logits, labels)
    tempered = calibration.scaled(logits, temperature)
    probability = np.exp(tempered)
    right = probability.argmax(1) == labels
    return Calibrator(
        settings,
        temperature,
        calibration.isotonic(tempered, labels) if settings.method == "isotonic" else None,
        np.bincount(labels, minlength=logits.shape[1]),
        conformal.marginal(probability, labels, settings.level),
        conformal.mondrian(probability, labels, settings.level),
        abstention.threshold(probability.max(1), right, settings.error),
    )


def judged(calibrator: Calibrator, logits: Floats, labels: Labels) -> dict[str, NDArray[Any]]:
    """What becomes of images `(M, K)` with known labels, an array `(M,)` of each.

    `nll` and `confidence` as calibrated, `brier`; `covered` and `set_size` of the marginal sets, `covered_mondrian` and
    `set_size_mondrian` of the class-conditional ones; `answered`, whether the answer is given.
    """
    step = max(1, _SLICE // logits.shape[1])
    parts = [_judged(calibrator, logits[i : i + step], labels[i : i + step]) for i in range(0, len(labels), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _judged(calibrator: Calibrator, logits: Floats, labels: Labels) -> dict[str, NDArray[Any]]:
    tempered = calibrator.tempered(logits)
    log_probability = calibrator.calibrated(tempered)
    probability, rows = np.exp(tempered), np.arange(len(labels))
    marginal, mondrian = (conformal.sets(probability, at) for at in (calibrator.marginal, calibrator.mondrian))
    return {
        "nll": -log_probability[rows, labels],
        "confidence": np.exp(log_probability.max(1)),
        "brier": scoring.brier(log_probability, labels),
        "right": log_probability.argmax(1) == labels,
        "covered": marginal[rows, labels],
        "set_size": marginal.sum(1),
        "covered_mondrian": mondrian[rows, labels],
        "set_size_mondrian": mondrian.sum(1),
        "answered": probability.max(1) >= calibrator.unsure,
    }
