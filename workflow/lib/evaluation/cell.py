"""One cell: dataset x backbone x method x shots, every seed and variant of it, from features to a record."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from methods.contract.base import Array, Method, Replica, Task
from methods.contract.needs import arrays
from workflow.lib.engine import checkpoints
from workflow.lib.evaluation import (
    calibration,
    calibrator,
    engines,
    fitting,
    needs,
    scoring,
    trust,
    tuning,
    weighing,
    whole,
)
from workflow.lib.evaluation.bench import Bench
from workflow.lib.evaluation.cross_validation import HeldOut, Table
from workflow.lib.evaluation.protocol import CROSS_VALIDATION, Choice, Outcome, in_numpy


@dataclass(frozen=True)
class Result:
    """One variant: its seeds' outcomes, or the reason for which it could not be run."""

    variant: str
    params: Mapping[str, Any]
    trainable: int
    outcomes: Mapping[int, Outcome]
    reason: str = ""
    size: int | None = None  # bytes of its classifier as it is shipped; None where it can't be


def resumable(path: Path, made_of: str, log: Callable[[str], None], seconds: float) -> AbstractContextManager[float]:
    """While the block runs fits are kept in the file `path` every so many seconds: a killed cell goes on from there, if
    it is `made_of` the same.

    Gives the seconds that had passed up to the last checkpoint.
    """
    plain = Choice, Outcome, HeldOut
    return checkpoints.kept(checkpoints.Checkpoints(path, made_of, plain, log, seconds))


def evaluate(bench: Bench, method: Method) -> list[Result]:
    """Fit and score every variant with every seed. A wrong answer of the plugin names the variant and the seed."""
    if not bench.folds:
        return _evaluate(bench, method)
    by_fold = []
    for number, fold in enumerate(bench.folds, 1):
        by_fold.append(_evaluate(fold, method))
        for outcome in (outcome for result in by_fold[-1] for outcome in result.outcomes.values()):
            outcome.leave_device()
        bench.log(f"fold {number} of {len(bench.folds)} is answered")
    return [_whole(bench, results) for results in zip(*by_fold, strict=True)]


def _whole(bench: Bench, results: Sequence[Result]) -> Result:
    """One variant's results in every fold as one, over all images."""
    rows = [fold.without for fold in bench.folds if fold.without is not None]
    outcomes = {
        seed: whole.joined([one.outcomes[seed] for one in results], rows, curve=bench.cell.metric == "accuracy")
        for seed in results[0].outcomes
    }
    trainable = max(result.trainable for result in results)
    return replace(results[0], trainable=trainable, outcomes=outcomes, size=_largest(results))


def _largest(results: Iterable[Result]) -> int | None:
    """The most bytes of them; None where one of them can't be shipped."""
    sizes = [result.size for result in results]
    return None if None in sizes else max(size for size in sizes if size is not None)


def _evaluate(bench: Bench, method: Method) -> list[Result]:
    there = needs.met(bench.features, bench.encoder, bench.model)
    results = []
    for (raw, _), group in _by_features(method, bench.cell.variants):
        runnable = [variant for variant in group if method.needs(variant["params"]) <= there]
        results += [_refused(bench, method, variant) for variant in group if variant not in runnable]
        if runnable:
            results += _run(bench, method, runnable, raw)
    order = [variant["variant"] for variant in bench.cell.variants]
    results.sort(key=lambda result: order.index(result.variant))
    results = [_tuned(bench, results)] if bench.cell.tuned else results
    _trust(bench, results)
    return results


def _trust(bench: Bench, results: Sequence[Result]) -> None:
    """Calibrate what each regime has chosen, where there are images for it, and measure that on the reported split."""
    settings = calibrator.Settings.of(bench.cell.calibrate)
    for seed, outcome in (pair for result in results for pair in result.outcomes.items()):
        for regime, choice in outcome.choices.items():
            if not (on := bench.cell.calibrated_on(regime)):
                continue
            if choice.held is None:
                choice.trust = trust.Trust(on, bench.uncalibrated(seed, len(outcome.points) > 1))
            else:
                labels = bench.held_labels(on, seed)
                choice.trust = trust.found(on, choice.held, labels, choice.final(), bench.labels, settings)
                choice.held = None


def _tuned(bench: Bench, results: Sequence[Result]) -> Result:
    """The results of all variants as one row; of those that could be run, if there are any."""
    name, swept = bench.cell.tuned, tuning.differing([result.params for result in results])
    params = {**results[0].params, **swept}
    ran = [result for result in results if not result.reason]
    if not ran:
        return Result(name, params, 0, {}, results[0].reason)
    outcomes = {
        seed: tuning.joined([(_settings(swept, one), one.outcomes[seed]) for one in ran], images)
        for seed, images in bench.support_sizes().items()
    }
    for outcome in outcomes.values():
        outcome.notes += [f"not tuned with {one.variant}: {one.reason}" for one in results if one.reason]
    return Result(name, params, max(result.trainable for result in ran), outcomes, size=_largest(ran))


def _settings(swept: Iterable[str], result: Result) -> dict[str, Any]:
    """What tells a variant from the others."""
    return {name: result.params[name] for name in swept}


def _by_features(
    method: Method, variants: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[tuple[bool, list[str]], list[Mapping[str, Any]]]]:
    """The variants that see the same of the images: unit or raw, and which arrays beside."""

    def seen(variant: Mapping[str, Any]) -> tuple[bool, list[str]]:
        return method.raw(variant["params"]), arrays(method.needs(variant["params"]))

    for wanted, group in groupby(sorted(variants, key=seen), key=seen):
        yield wanted, list(group)


def _refused(bench: Bench, method: Method, variant: Mapping[str, Any]) -> Result:
    reason = needs.reason(method.needs(variant["params"]), bench.features, bench.encoder, bench.model)
    return Result(variant["variant"], variant["params"], 0, {}, reason)


def needed(method: Method, variants: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """What some variant needs, the augmented views for one: nobody else's job reads them."""
    return frozenset().union(*(method.needs(variant["params"]) for variant in variants))


def _run(bench: Bench, method: Method, variants: Sequence[Mapping[str, Any]], raw: bool) -> list[Result]:
    wanted = needed(method, variants)
    task = bench.task(raw, wanted, engines.engine(type(method)))
    replicas = [Replica(v["variant"], v["params"], seed) for v in variants for seed in range(bench.cell.seeds)]
    found = chosen(bench, method, task, replicas, raw, wanted)
    return [
        _result(method, task, variant, {one.seed: found[one] for one in replicas if one.variant == variant["variant"]})
        for variant in variants
    ]


def _result(method: Method, task: Task, variant: Mapping[str, Any], outcomes: Mapping[int, Outcome]) -> Result:
    params = variant["params"]
    size = weighing.of_head(method, task, params) if method.engine else outcomes[0].size
    return Result(variant["variant"], params, method.trainable(task, params), outcomes, size=size)


def chosen(
    bench: Bench, method: Method, task: Task, replicas: Sequence[Replica], raw: bool, wanted: frozenset[str]
) -> dict[Replica, Outcome]:
    """What each replica comes to, after the cross-validation of its support where a regime chooses by it."""
    tables = bench.tables(method, task, replicas)
    weigh = None if method.engine or arrays(wanted) else weighing.of_candidate
    judge = bench.judge(raw, wanted, tables, weigh)
    found = fitting.outcomes(method, task, replicas, judge)
    # The whole support may take more steps than its folds: which candidate is which is known once it has been trained.
    chosen_by = tables if CROSS_VALIDATION in bench.cell.regimes else {}
    again = [one for one, table in chosen_by.items() if not table.fits(found[one].points)]
    if again:
        found |= fitting.outcomes(method, task, again, judge)
    for replica, outcome in found.items():
        choosing = len(outcome.points) > 1 or bench.cell.tuned != ""
        outcome.notes += bench.remarks(replica.seed, choosing)
        outcome.cv_seconds = tables[replica].seconds if replica in tables else 0.0
        for regime, choice in outcome.choices.items():
            choice.held = _held(bench, regime, choice, tables.get(replica), outcome, replica.seed)
    return found


def _held(bench: Bench, regime: str, choice: Choice, table: Table | None, outcome: Outcome, seed: int) -> Array | None:
    """The logits that calibrate a choice, `(n, K)` in NumPy; None where there are none."""
    on = bench.cell.calibrated_on(regime)
    if on == CROSS_VALIDATION:
        return table and table.held(choice.number, choice.point, len(outcome.points))
    return calibration.compact(in_numpy(choice.held)[bench.held_rows(on, seed)]) if on else None


def metrics(bench: Bench, outcome: Outcome, regime: str = "") -> dict[str, float]:
    """The metrics of one seed of one variant under a regime, the first if none is named: those of results.csv."""
    metric = bench.cell.metric
    scores = scoring.metrics(outcome.choices[regime or bench.cell.select].final(), bench.labels, metric)
    if len(outcome.curve) > 1:
        scores |= {f"{metric}_last": outcome.curve[-1], f"{metric}_peek": max(outcome.curve)}
    found = outcome.choices[regime or bench.cell.select].trust
    return scores | (found.metrics() if found else {}) | {"fit_seconds": outcome.seconds}
