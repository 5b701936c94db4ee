"""What a cell's classifiers said of every image, as arrays for an npz: what metrics are computed from again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.contract.base import Array, Floats
from workflow.lib.evaluation import scoring
from workflow.lib.evaluation.cell import Bench, Result

LOGITS_LIMIT = 2**20  # bytes of all logits of a cell as float16: above it, the largest of each image
LARGEST = 5
_TYPES = {
    "predicted": np.int32,
    "probability": np.float32,
    "nll": np.float32,
    "confidence": np.float32,
    "squares": np.float32,
}


def arrays(bench: Bench, results: Sequence[Result]) -> dict[str, Any]:
    """The arrays of a cell with V variants that ran, S seeds, M reported images and K classes.

    `variants (V,)`, `seeds (S,)`, `classnames (K,)`, `labels (M,)`; `splits (P,)`, which the cell read, and `images
    (P, K)`, how many each class has there. Of every image, `(V, S, M)`: `predicted`, the class; `probability`, of the
    true class; `nll`, minus its logarithm; `confidence`, the probability of the predicted class; `squares`, the sum of
    the squared probabilities of all classes. And logits, see `_kept`.
    """
    ran = [result for result in results if not result.reason]
    logits = [o.choices[bench.cell.select].final() for result in ran for o in result.outcomes.values()]
    shape = (len(ran), bench.cell.seeds, len(bench.labels))
    found = [_of_images(bench, one) for one in logits]
    of_images = {name: np.array([one[name] for one in found], kind).reshape(shape) for name, kind in _TYPES.items()}
    widths = {"logits": len(bench.features.classnames)}
    kept = {
        name: np.array(array).reshape(*shape, widths.get(name, LARGEST)) for name, array in _kept(bench, logits).items()
    }
    return _names(bench, ran) | of_images | kept


def _names(bench: Bench, ran: Sequence[Result]) -> dict[str, Array]:
    classnames, splits = bench.features.classnames, bench.cell.splits()
    images = [np.bincount(bench.features.splits[split].y, minlength=len(classnames)) for split in splits]
    return {
        "labels": bench.labels,
        "variants": np.array([result.variant for result in ran], dtype=np.str_),
        "seeds": np.arange(bench.cell.seeds),
        "classnames": np.array(classnames, dtype=np.str_),
        "splits": np.array(splits, dtype=np.str_),
        "images": np.array(images),
    }


def _of_images(bench: Bench, logits: Floats) -> dict[str, Array]:
    """The arrays `(M,)` of one classifier."""
    log_probability = scoring.log_softmax(logits)
    own = log_probability[np.arange(len(bench.labels)), bench.labels]
    return {
        "predicted": logits.argmax(1),
        "probability": np.exp(own),
        "nll": np.minimum(-own, np.finfo(np.float32).max),
        "confidence": np.exp(log_probability.max(1)),
        "squares": (np.exp(log_probability) ** 2).sum(1),
    }


def _kept(bench: Bench, logits: Sequence[Floats]) -> dict[str, list[Array]]:
    """The logits of each classifier, shifted to be logarithms of probabilities: their softmax is the same.

    All of them, `logits (V, S, M, K)`, where they are small enough; otherwise the five largest of each image,
    `top_classes` and `top_logits (V, S, M, 5)`. With `metric: auroc`, which is computed from them, all in float32.
    """
    exact = bench.cell.metric == "auroc"
    size = np.dtype(np.float16).itemsize * sum(one.size for one in logits)
    if exact or size <= LOGITS_LIMIT or len(bench.features.classnames) <= LARGEST:
        return {"logits": [_shifted(one, np.float32 if exact else np.float16) for one in logits]}
    top = [np.argsort(-one, axis=1, kind="stable")[:, :LARGEST].astype(np.int32) for one in logits]
    largest = [np.take_along_axis(_shifted(one, np.float16), best, 1) for one, best in zip(logits, top, strict=True)]
    return {"top_classes": top, "top_logits": largest}


def _shifted(logits: Floats, kind: type[np.floating[Any]]) -> Array:
    return np.maximum(scoring.log_softmax(logits), np.finfo(kind).min).astype(kind)
