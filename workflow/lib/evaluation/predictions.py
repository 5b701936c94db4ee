"""What a cell's classifiers said of every image, as arrays for an npz: what metrics are computed from again."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.contract.base import Array, Floats
from workflow.lib.evaluation import scoring
from workflow.lib.evaluation.cell import Bench, Result

LOGITS_LIMIT = 2**20  # bytes of all logits of a cell as float16: above it, the largest of each image
LARGEST = 5
Types = dict[str, type[Any]]
_TYPES: Types = {
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
    classes, kept = len(bench.features.classnames), _kept(bench, sum(one.size for one in logits))
    found = [_of_images(bench, one, kept) for one in logits]
    shape = (len(ran), bench.cell.seeds, len(bench.labels))
    wide = {"logits": classes, "top_classes": LARGEST, "top_logits": LARGEST}
    return _names(bench, ran) | {
        name: np.array([one[name] for one in found], kind).reshape(*shape, *([wide[name]] if name in wide else []))
        for name, kind in (_TYPES | kept).items()
    }


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


def _kept(bench: Bench, numbers: int) -> Types:
    """The logits to save of a cell that has so many, by the names of their arrays.

    They are shifted to be logarithms of probabilities: their softmax is the same. All of them, `logits (V, S, M, K)`,
    where they are small enough; otherwise the five largest of each image, `top_classes` and `top_logits (V, S, M, 5)`.
    With `metric: auroc`, which is computed from them, all in float32.
    """
    if bench.cell.metric == "auroc":
        return {"logits": np.float32}
    size = np.dtype(np.float16).itemsize * numbers
    if size <= LOGITS_LIMIT or len(bench.features.classnames) <= LARGEST:
        return {"logits": np.float16}
    return {"top_classes": np.int32, "top_logits": np.float16}


def _of_images(bench: Bench, logits: Floats, kept: Types) -> dict[str, Array]:
    """The arrays `(M,)` of one classifier, and what is kept of its logits."""
    log_probability = scoring.log_softmax(logits)
    probability, rows = np.exp(log_probability), np.arange(len(bench.labels))
    return {
        "predicted": logits.argmax(1),
        "probability": probability[rows, bench.labels],
        "nll": np.minimum(-log_probability[rows, bench.labels], np.finfo(np.float32).max),
        "confidence": probability.max(1),
        "squares": np.einsum("mk,mk->m", probability, probability),
    } | (_top(log_probability) if "top_logits" in kept else {"logits": _finite(log_probability, kept["logits"])})


def _top(log_probability: Array) -> dict[str, Array]:
    """The largest of each image, in order; of equal ones the first class, as in `predicted`."""
    best = np.argsort(-log_probability, axis=1, kind="stable")[:, :LARGEST]
    largest = np.take_along_axis(log_probability, best, 1)
    return {"top_classes": best, "top_logits": _finite(largest, np.float16)}


def _finite(log_probability: Array, kind: type[np.floating[Any]]) -> Array:
    return np.maximum(log_probability, np.finfo(kind).min).astype(kind)
