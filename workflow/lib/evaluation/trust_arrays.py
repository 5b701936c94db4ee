"""What calibration makes of the reported images, and the held-out logits behind it, as arrays for an npz."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.contract.base import Array
from workflow.lib.evaluation import trust as trusted
from workflow.lib.evaluation.trust import Trust

ABOUT = {
    "calibrated_nll": "minus the natural logarithm of the calibrated probability of the true class; NaN where none",
    "calibrated_confidence": "the largest calibrated probability",
    "calibrated_brier": "the squared distance of the calibrated probabilities from the truth",
    "calibrated_right": "whether the class of the largest calibrated probability is the true one; -1 where none",
    "covered": "whether the prediction set holds the true class; -1 where there is no set",
    "set_size": "how many classes the prediction set has",
    "covered_mondrian": "the same of the set with a threshold for each class",
    "set_size_mondrian": "how many classes that set has",
    "answered": "whether the calibrated probability is large enough to answer; -1 where nothing is known",
    "held_out_logits": "of images that calibrate, less the largest of each image",
    "held_out_labels": "their true classes",
    "held_out_of": "the variant, the seed and the fold of the dataset that each of these rows is of",
}
_FLOATS = {"nll": "calibrated_nll", "confidence": "calibrated_confidence", "brier": "calibrated_brier"}
_WHOLE = {"right": "calibrated_right"} | {name: name for name in ABOUT if name[:3] in ("cov", "set", "ans")}


def arrays(trusts: Sequence[Trust | None], shape: tuple[int, int, int]) -> dict[str, Array]:
    """The arrays `(V, S, M)` of the V × S `trusts`; none where nothing was calibrated."""
    if not any(trust and trust.images for trust in trusts):
        return {}
    found: dict[str, Array] = {}
    for names, kind, missing in ((_FLOATS, np.float32, np.nan), (_WHOLE, np.int32, -1)):
        for own, name in names.items():
            empty: Any = np.full(shape[2], missing)
            each = [trust.images[own] if trust and trust.images else empty for trust in trusts]
            found[name] = np.array(each, kind).reshape(shape)
    return found


def held_out(trusts: Sequence[Trust | None], seeds: int) -> dict[str, Array]:
    """`held_out_logits (T, K)` float16, `held_out_labels (T,)`, `held_out_of (T, 3)`; none where they are too large."""
    fitted = [
        (held, (i // seeds, i % seeds, fold))
        for i, trust in enumerate(trusts)
        for fold, (_, _, held) in enumerate(trust.parts if trust else ())
    ]
    parts = [(*held, of) for held, of in fitted if held is not None]
    if not parts or len(parts) < len(fitted) or sum(held.nbytes for held, _, _ in parts) > trusted.LIMIT:
        return {}
    return {
        "held_out_logits": np.concatenate([held for held, _, _ in parts]),
        "held_out_labels": np.concatenate([own for _, own, _ in parts]),
        "held_out_of": np.concatenate([np.tile(of, (len(own), 1)) for _, own, of in parts]),
    }
