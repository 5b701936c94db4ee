"""What a cell's classifiers said of every image, as arrays for an npz: what metrics are computed from again."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.contract.base import Array, Floats
from workflow.lib.evaluation import scoring, trust_arrays
from workflow.lib.evaluation.bench import Bench
from workflow.lib.evaluation.cell import Result

LOGITS_LIMIT = 2**20  # bytes of all logits of a cell as float16: above it, the largest of each image
FILES_LIMIT = 2**18  # characters of all names of images
LARGEST = 5
Types = dict[str, type[Any]]
ABOUT = {
    "labels": "the true class of each image",
    "variants": "names of the first axis, V",
    "seeds": "of the second axis, S",
    "classnames": "names of the classes, K",
    "splits": "the splits that the cell read",
    "images": "how many images each class has in each of these splits",
    "files": "the names of the images, M",
    "predicted": "the class with the largest logit",
    "probability": "of the true class: softmax of the logits as the method gives them, not calibrated",
    "nll": "minus the natural logarithm of `probability`",
    "confidence": "the probability of the predicted class, not calibrated",
    "squares": "the sum of the squared probabilities of all classes, not calibrated",
    "logits": "less the logarithm of their summed exponentials: exp of them are the probabilities, not calibrated",
    "top_classes": "the classes of the five largest logits, in order",
    "top_logits": "these, less the logarithm of all summed exponentials",
    **trust_arrays.ABOUT,
}
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
    the squared probabilities of all classes. And logits, see `_kept`; what calibration makes of the images, and what it
    was fitted to, see `trust_arrays`. `files (M,)` are the names of the images, where there are images and the list is
    not too long. `about ()` is JSON: what each of the arrays is.
    """
    ran = [result for result in results if not result.reason]
    logits = [o.choices[bench.cell.select].final() for result in ran for o in result.outcomes.values()]
    classes, kept = len(bench.features.classnames), _kept(bench, sum(one.size for one in logits))
    trusts = [o.choices[bench.cell.select].trust for result in ran for o in result.outcomes.values()]
    found = [_of_images(bench, one, kept) for one in logits]
    shape = (len(ran), bench.cell.seeds, len(bench.labels))
    wide = {"logits": classes, "top_classes": LARGEST, "top_logits": LARGEST}
    made = {
        name: np.array([one[name] for one in found], kind).reshape(*shape, *([wide[name]] if name in wide else []))
        for name, kind in (_TYPES | kept).items()
    }
    made = _names(bench, ran) | made | trust_arrays.arrays(trusts, shape)
    made |= trust_arrays.held_out(trusts, bench.cell.seeds)
    return made | {"about": np.array(json.dumps({name: ABOUT[name] for name in made}, ensure_ascii=False))}


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
    } | _files(bench)


def _files(bench: Bench) -> dict[str, Array]:
    """The names of the reported images, up to a size; above it they are in the features, in the same order."""
    split = "train" if bench.cell.folds else bench.cell.report
    listed = bench.features.files
    names = list(listed[split]) if split in listed else []
    if not 0 < sum(map(len, names)) <= FILES_LIMIT:
        return {}
    return {"files": np.array([name.encode("utf-8", "replace").decode() for name in names], dtype=np.str_)}


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
