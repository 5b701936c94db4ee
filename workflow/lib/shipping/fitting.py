"""The classifier that is shipped: fitted on every label there is, and what these say of how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from methods.contract.base import Floats, Labels, Method, Replica, Support, Task, unit
from methods.contract.encoder import Model, TextEncoder
from methods.contract.exporting import CannotShipError
from methods.contract.needs import unshippable
from methods.contract.program import INPUT, Numbers, Program, Writer
from methods.contract.shots import ALL
from workflow.lib.errors import UserError, one_line
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import cross_validation, engines, folds, needs, outliers
from workflow.lib.evaluation.bench import Bench, Cell, Log
from workflow.lib.evaluation.calibrator import Calibrator, Settings
from workflow.lib.evaluation.calibrator import fit as calibrate
from workflow.lib.evaluation.protocol import CROSS_VALIDATION
from workflow.lib.evaluation.sealed import sealed
from workflow.lib.features.store import Features, Split
from workflow.lib.features.stream import Joined

LAST = "last"
REPORT = "test"  # the split of a bench that nothing is reported of: one image of each class
MOST_NEIGHBOURS = 20_000  # images that a new one is compared with, to mark those of no class
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Row:
    """The row of a study that is shipped: its label, its variants (several where the protocol chooses among them)."""

    study: str
    dataset: str
    backbone: str
    label: str
    method: str
    variants: Sequence[Mapping[str, Any]]  # {"variant": name, "params": {...}}
    select: str
    metric: str = "accuracy"


@dataclass(frozen=True)
class Fitted:
    """A program from features as the backbone gives them to logits, with what it changes in the backbone's image tower,
    and how it came about.

    `calibrator` is None where no image could be left out; `outlier` gives each image's distance to the images that
    were learned from, above `distance` no class's.
    """

    program: Program
    params: Mapping[str, Any]
    point: Mapping[str, Any]
    chosen_by: str
    calibrator: Calibrator | None
    outlier: Program
    distance: float
    support: Support


def labelled(features: Features, everything: bool) -> Features:
    """The features with all labelled images that are to be learned from as train, those of val and test among them
    where `everything` is.
    """
    names = list(features.splits) if everything else ["train"]
    if everything and features.train_views is not None and len(names) > 1:
        raise UserError("ship: labels: everything: val and test have no augmented views; allowed: labels: train")
    parts = [features.splits[name] for name in names]
    x, y = np.concatenate([part.x[:] for part in parts]), np.concatenate([part.y for part in parts])
    images = {name: Joined([part.images[name] for part in parts]) for name in parts[0].images}
    train = Split(x, y, images=images)
    _, first = np.unique(y, return_index=True)
    return replace(features, splits={"train": train, REPORT: train.part(first)}, folds=None)


def fit(
    row: Row,
    method: Method,
    features: Features,
    settings: Settings,
    device: str,
    threads: int,
    log: Log,
    encoder: TextEncoder | str = "",
    model: Model | str = "",
) -> Fitted:
    """Fit the row on all of `features`' train split; see `labelled`. `encoder` is the text tower, and `model` both
    towers, or why there is none.

    Where the study's protocol chooses, the candidate is chosen by cross-validation on these labels: there are no
    others left. Raises `UserError` where the method can't be run on the features, or can't be shipped.
    """
    regime = LAST if row.select == LAST else CROSS_VALIDATION
    tuned = "tuned" if len(row.variants) > 1 else ""
    cell = Cell(
        row.study, row.dataset, row.backbone, row.label, row.method, ALL, 1, REPORT, regime, row.variants,
        tuned=tuned, metric=row.metric,
    )  # fmt: skip
    bench = Bench(cell, features, device, threads, log, encoder=encoder, model=model)
    _check_needs(row, method, features, encoder, model)
    params, point = (row.variants[0]["params"], None) if regime == LAST else _chosen(bench, method)
    task = sealed(_task(bench, method, params))
    support = task.supports[0]
    log(f"fitting {row.label} on {len(support.y)} images")
    program = _export(row, method, task, Replica(row.label, params, 0), point)
    held_out = _held_out(row, method, task, params, point, log)
    near = _few(method.as_shipped(task, params, program, support.x))
    return Fitted(
        program if method.raw(params) else program.after("unit"),
        params,
        point or {},
        regime,
        None if held_out is None else calibrate(held_out, support.y, settings),
        _distance(near),
        outliers.threshold(near, FALSE_ALARMS),
        support,
    )


def _check_needs(row: Row, method: Method, features: Features, encoder: TextEncoder | str, model: Model | str) -> None:
    for variant in row.variants:
        wanted = method.needs(variant["params"])
        if more := unshippable(wanted):
            _refuse(row, f"it needs {more}, and what is shipped gets the embedding of an image")
        if not wanted <= needs.met(features, encoder, model):
            raise UserError(f"ship: {row.label}: {needs.reason(wanted, features, encoder, model)}")


def _task(bench: Bench, method: Method, params: Mapping[str, Any]) -> Task:
    return bench.task(method.raw(params), method.needs(params), engines.engine(type(method)))


def _chosen(bench: Bench, method: Method) -> tuple[Mapping[str, Any], Mapping[str, float] | None]:
    """The parameters and the candidate that cross-validation on the labels takes."""
    found = []
    for variant in bench.cell.variants:
        raw = method.raw(variant["params"])
        replica = Replica(variant["variant"], variant["params"], 0)
        task, wanted = _task(bench, method, variant["params"]), method.needs(variant["params"])
        outcome = cells.chosen(bench, method, task, [replica], raw, wanted)[replica]
        found.append(outcome.choices[CROSS_VALIDATION])
    scores = [choice.score for choice in found]
    images = bench.support_sizes()[0]
    best = cross_validation.preferred(scores, 0, images) if len(found) > 1 and scores[0] else 0
    return bench.cell.variants[best]["params"], dict(found[best].point)


def _export(row: Row, method: Method, task: Task, replica: Replica, point: Mapping[str, float] | None) -> Program:
    try:
        return method.export(task, replica, point)
    except CannotShipError as error:
        _refuse(row, one_line(error))


def _refuse(row: Row, reason: str) -> NoReturn:
    raise UserError(f"ship: {row.label} can't be shipped: {reason}; name another row: `ship: {{method: …}}`")


def _held_out(
    row: Row, method: Method, task: Task, params: Mapping[str, Any], point: Mapping[str, float] | None, log: Log
) -> Floats | None:
    """Logits `(N, K)` of every labelled image by a classifier without its fold; None where there are no folds."""
    whole = task.supports[0]
    parts = folds.split(0, whole.y)
    if not parts:
        return None
    logits = np.empty((len(whole.y), task.classes), np.float32)
    for number, fold in enumerate(parts, 1):
        log(f"fitting it without fold {number} of {len(parts)}, to see how far to trust it")
        rest = replace(task, supports=folds.Supports(whole, [fold]))
        replica = Replica(row.label, params, fold.seed)
        program = _nearest(row, method, rest, replica, point)
        logits[fold.out] = program(method.as_shipped(rest, params, program, whole.x[fold.out]))
    return logits


def _nearest(row: Row, method: Method, task: Task, replica: Replica, point: Mapping[str, float] | None) -> Program:
    """The classifier at the point, or the last one where a fit of fewer images has no such point."""
    try:
        return _export(row, method, task, replica, point)
    except ValueError:
        return _export(row, method, task, replica, None)


def _few(x: Floats) -> Floats:
    """The images that new ones are compared with, unit: all of them, or as many as a file should hold."""
    if len(x) > MOST_NEIGHBOURS:
        x = x[np.random.default_rng(0).choice(len(x), MOST_NEIGHBOURS, replace=False)]
    return np.asarray(unit(x), np.float32)


def _distance(support: Numbers) -> Program:
    """1 less the cosine of features to the nearest labelled image, `(M, 1)`."""
    write = Writer()
    cosines = write("linear", write("unit", INPUT), support.T)
    return write.program(write("subtract", 1.0, write("largest", cosines)))


def images_per_class(support: Support, classes: int) -> Labels:
    """How many images of each class were learned from `(K,)`."""
    return np.bincount(support.y, minlength=classes)
