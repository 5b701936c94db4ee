"""How far one seed's classifier can be trusted: calibrated on held-out images, measured on the reported split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import Floats, Labels
from workflow.lib.evaluation import abstention, calibrator, conformal, scoring
from workflow.lib.evaluation.calibrator import Calibrator, Settings

Held = tuple[NDArray[np.float16], Labels]
LIMIT = 2**20  # bytes of held-out logits that are kept, and that are saved of a cell


@dataclass(frozen=True)
class Trust:
    """What images `on` a split, or out of the folds of the support, say of a classifier; or the `reason` why nothing.

    `parts` has one calibrator, of a cross-validated dataset one for each fold, with the reported images of each class
    `(K,)` that it was applied to and the held-out logits `(n, K)` and labels `(n,)` that it was fitted to, None where
    they are large. `images` are arrays `(M,)` of the reported images, see `calibrator.judged`.
    """

    on: str
    reason: str = ""
    parts: Sequence[tuple[Calibrator, Labels, Held | None]] = ()
    images: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Those of results.csv; none where nothing was calibrated, no `answered_error` where nothing was answered."""
        if self.reason:
            return {}
        images, temperatures = self.images, [one.temperature for one, _, _ in self.parts]
        right, answered = images["right"].astype(bool), images["answered"].astype(bool)
        found = {
            "temperature": float(np.mean(temperatures)),
            "nll_calibrated": float(images["nll"].mean()),
            "ece_calibrated": scoring.expected_calibration_error(images["confidence"], right),
            "brier_calibrated": float(images["brier"].mean()),
            "coverage": float(images["covered"].mean()),
            "set_size": float(images["set_size"].mean()),
            "coverage_mondrian": float(images["covered_mondrian"].mean()),
            "set_size_mondrian": float(images["set_size_mondrian"].mean()),
            "answered": float(answered.mean()),
            "aurc": abstention.risk_coverage(images["confidence"], right).area,
        }
        return found | ({"answered_error": float((~right[answered]).mean())} if answered.any() else {})

    def described(self) -> dict[str, Any]:
        """For the record: on what, how many images, what was asked for, and where the coverages should lie."""
        if self.reason:
            return {"held_out": self.on, "reason": self.reason}
        settings = self.parts[0][0].settings
        together = [(int(one.counts.sum()), int(asked.sum())) for one, asked, _ in self.parts]
        by_class = [
            pair for one, asked, _ in self.parts for pair in zip(one.counts.tolist(), asked.tolist(), strict=True)
        ]
        return {
            "held_out": self.on,
            "images": sum(count for count, _ in together),
            "level": settings.level,
            "error": settings.error,
            "method": settings.method,
            "band": list(conformal.band(together, settings.level)),
            "band_mondrian": list(conformal.band(by_class, settings.level)),
        }


def found(on: str, held: NDArray[np.float16], own: Labels, logits: Floats, labels: Labels, settings: Settings) -> Trust:
    """From held-out logits `(n, K)` with their labels `(n,)`, for the reported logits `(M, K)` and labels `(M,)`.

    The reported labels measure; nothing is fitted to them. `val_fewshot` holds out as many images as there are shots:
    of a method that learns from none, none.
    """
    if not len(own):
        return Trust(on, "no image is held out at 0 shots")
    fitted = calibrator.fit(held.astype(np.float32), own, settings)
    asked = np.bincount(labels, minlength=logits.shape[1])
    kept = (held, own) if held.nbytes <= LIMIT else None
    return Trust(on, "", [(fitted, asked, kept)], calibrator.judged(fitted, logits, labels))


def joined(folds: Sequence[Trust | None], order: Labels) -> Trust | None:
    """That of a cross-validated dataset, whose folds' images one after the other are put into this order."""
    known = [one for one in folds if one is not None]
    if not known:
        return None
    if without := next((one for one in known if one.reason), None):
        return without
    images = {name: np.concatenate([one.images[name] for one in known])[order] for name in known[0].images}
    return Trust(known[0].on, "", [part for one in known for part in one.parts], images)
