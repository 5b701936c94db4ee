"""How far answers can be trusted, for the page: confidence against what is right, errors against abstention."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.lib.evaluation import abstention, calibration
from workflow.lib.evaluation.records import Record
from workflow.lib.features import archive
from workflow.lib.page.layout import Layout

POINTS = 40  # of a curve of errors over the share that is answered
_ROWS = 2000  # rows of cells on the page: beyond it those of the largest number of shots, or none
_CLASSES = 200_000  # prediction sets of a class on the page, likewise
_ARRAYS = (
    *("variants", "labels", "predicted", "confidence", "calibrated_confidence", "calibrated_right"),
    *("covered", "set_size"),
)
Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


def of(layout: Layout) -> dict[str, Any]:
    """`trust`, by place, row and shots: `bins` and `risks` of the method's own confidence, and where it was calibrated
    `calibrated_bins` and `calibrated_risks`, and `sets`: of each class the share of its images whose prediction set
    holds it, in percent, and how many classes their sets hold; `level` is the share that they aim at.
    """
    cells = [(i, key) for i, source in enumerate(layout.sources) for key in source.predictions]
    size = sum(len(layout.sources[i].predictions[key].predicted) for i, key in cells)
    last = layout.shot(layout.shots[-1]) if layout.shots else 0
    kept = [(i, key) for i, key in cells if size <= _ROWS or layout.shot(key[3]) in (-1, last)]
    if sum(len(layout.sources[i].predictions[key].predicted) for i, key in kept) > _ROWS:
        return {"trust": []}
    made = [one for i, key in kept for one in _of_cell(layout, i, key)]
    if sum(len(one.get("sets", ())) for one in made) > _CLASSES:
        made = [{name: value for name, value in one.items() if name != "sets"} for one in made]
    return {"trust": made}


def _of_cell(layout: Layout, study: int, key: tuple[str, str, str, str]) -> list[dict[str, Any]]:
    source = layout.sources[study]
    found = archive.read(source.results.plan.path(source.folder, *key, "predictions"), _ARRAYS)
    if "confidence" not in found:
        return []
    where = {"p": layout.pairs.index(key[:2]), "s": layout.shot(key[3])}
    names = [str(name) for name in found["variants"]]
    classes = len(source.predictions[key].classnames)
    return [
        {
            **where,
            "r": layout.row(study, (key[2], name)),
            **_of_row({k: found[k][i] for k in _rows(found)}, found["labels"], classes),
            **_level(source.results.records[key], name),
        }
        for i, name in enumerate(names)
    ]


def _level(record: Record, name: str) -> dict[str, float]:
    """The share of images whose prediction sets should hold the truth, in percent, if there are any sets."""
    seeds = next(variant["seeds"] for variant in record["variants"] if variant["variant"] == name)
    levels = [seed["calibration"]["level"] for seed in seeds if "level" in seed.get("calibration", {})]
    return {"level": round(100 * levels[0], 2)} if levels else {}


def _rows(found: Arrays) -> list[str]:
    return [name for name in found if name not in ("variants", "labels")]


def _of_row(found: Arrays, labels: NDArray[np.int64], classes: int) -> dict[str, Any]:
    made = _curves(found["confidence"], found["predicted"] == labels)
    if "calibrated_confidence" in found and "calibrated_right" in found:
        known = found["calibrated_right"] >= 0
        if known.any():
            right = found["calibrated_right"][known] == 1
            calibrated = _curves(found["calibrated_confidence"][known], right)
            made |= {f"calibrated_{name}": value for name, value in calibrated.items()}
    if "covered" in found and "set_size" in found and (found["covered"] >= 0).any():
        made["sets"] = sets(found["covered"], found["set_size"], labels, classes)
    return made


def sets(
    covered: NDArray[Any], size: NDArray[Any], labels: NDArray[np.int64], classes: int
) -> list[list[float] | None]:
    """Of each class the share of its images whose set holds it, in percent, and the mean size of their sets.

    Of `covered` and `size (S, M)`, -1 where a seed was not calibrated. None for a class without an image.
    """
    seeds = (covered >= 0).all(1)
    of = np.tile(labels, int(seeds.sum()))
    images = np.bincount(of, minlength=classes)
    sums = (np.bincount(of, values[seeds].ravel(), classes) for values in (covered, size))
    shares = np.stack(list(sums), 1) / np.maximum(images, 1)[:, None]
    return [
        [round(100 * held, 1), round(many, 2)] if n else None for n, (held, many) in zip(images, shares, strict=True)
    ]


def _curves(confidence: NDArray[Any], right: NDArray[np.bool_]) -> dict[str, Any]:
    sure, hit = np.ravel(confidence).astype(np.float64), np.ravel(right)
    return {"bins": bins(sure, hit), "risks": risks(sure, hit)}


def bins(confidence: Floats, right: NDArray[np.bool_]) -> list[list[float]]:
    """Of answers `(N,)` in the bins of the metric `ece`: how many, their mean confidence, the share that is right.

    The latter two are in percent. Empty bins are left out.
    """
    found = calibration.reliability(confidence, right)
    numbers = found.images, 100 * found.confidence, 100 * found.accuracy
    return [
        [int(n), round(sure, 1), round(hit, 1)]
        for n, sure, hit in zip(*map(np.ndarray.tolist, numbers), strict=True)
        if n
    ]


def risks(confidence: Floats, right: NDArray[np.bool_]) -> list[list[float]]:
    """The share of answers `(N,)` that is given, the surest first, and the share of them that is wrong, in percent."""
    curve = abstention.risk_coverage(confidence, right)
    some = np.unique(np.linspace(0, len(right) - 1, min(POINTS, len(right))).astype(int))
    return [[round(100 * curve.coverage[i], 1), round(100 * curve.risk[i], 2)] for i in some.tolist()]
