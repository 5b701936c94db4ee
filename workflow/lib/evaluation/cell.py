"""One cell: dataset x backbone x method x shots, every seed and variant of it, from features to a record."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from methods.contract.base import Array, Engine, Floats, Labels, Method, Replica, Support, Task, unit
from methods.contract.shots import ALL, ZERO
from workflow.lib.errors import UserError
from workflow.lib.evaluation import engines, fitting, needs, scoring, support_files, supports
from workflow.lib.evaluation.protocol import Judge, Outcome, Queries
from workflow.lib.features.blocks import Rows
from workflow.lib.features.store import Features

Log = Callable[[str], None]
_SLICE = 4096  # rows


@dataclass(frozen=True)
class Cell:
    """What a cell is to compute: the part of the study that its result depends on."""

    study: str
    dataset: str
    backbone: str
    label: str
    method: str
    shots: str
    seeds: int
    report: str
    select: str
    variants: Sequence[Mapping[str, Any]]  # {"variant": name, "params": {...}}
    supports: str = ""  # where supports are read from, if not drawn
    allow_fewer: bool = False
    also: Sequence[str] = ()  # further regimes, whose choices are recorded beside the first one's
    made_of: Mapping[str, Any] = field(default_factory=dict)  # what the study says of the features, to be held to
    curve: int = 0  # points of a training that are scored at most; 0: every epoch
    metric: str = "accuracy"  # what candidates are chosen by

    @property
    def regimes(self) -> list[str]:
        """Every regime, the one that the tables are about first."""
        return [self.select, *self.also]

    @property
    def looks_at_val(self) -> bool:
        """Whether a regime chooses on val."""
        return any(regime.startswith("val_") for regime in self.regimes)

    def splits(self) -> list[str]:
        """The splits that the cell reads."""
        chosen = ["val"] if self.looks_at_val else []
        return list(dict.fromkeys(["train", *chosen, self.report]))


@dataclass(frozen=True)
class Result:
    """One variant: its seeds' outcomes, or the reason for which it could not be run."""

    variant: str
    params: Mapping[str, Any]
    trainable: int
    outcomes: Mapping[int, Outcome]
    reason: str = ""


class Bench:
    """The fixed part of a cell: queries, supports, and how they are handed to the method."""

    def __init__(self, cell: Cell, features: Features, device: str, threads: int, log: Log) -> None:
        self.cell, self.features = cell, features
        self.device, self.threads, self.log = device, threads, log
        self.labels = features.splits[cell.report].y
        for split in cell.splits()[1:]:
            _two_classes(cell, split, features.splits[split].y)
        self.rows = {seed: self._draw(seed) for seed in range(cell.seeds)}
        few = "val_fewshot" in cell.regimes
        self._few = {seed: self._draw_val(seed) for seed in range(cell.seeds)} if few else {}

    def _draw(self, seed: int) -> Labels:
        cell, names = self.cell, self.features.classnames
        if cell.supports:
            return support_files.read(cell.supports, self.features, cell.shots, seed)
        return supports.draw(self.features.splits["train"].y, names, cell.shots, seed, allow_fewer=cell.allow_fewer)

    def short(self) -> str:
        """A remark on the classes that have fewer images than shots, if there are any."""
        if self.cell.shots in (ZERO, ALL):
            return ""
        images = np.bincount(self.features.splits["train"].y[self.rows[0]], minlength=len(self.features.classnames))
        fewer = int((images < int(self.cell.shots)).sum())
        return f"{fewer} classes have fewer than {self.cell.shots} images" if fewer else ""

    def _draw_val(self, seed: int) -> Labels:
        return supports.draw_val(self.features.splits["val"].y, self.features.classnames, self.cell.shots, seed)

    def task(self, raw: bool, views: bool = False, engine: Engine | None = None) -> Task:
        """What the method sees: supports of all seeds and text, nothing of the reported split."""
        return Task(
            supports={seed: self._support(rows, raw, views) for seed, rows in self.rows.items()},
            classnames=self.features.classnames,
            shots=self.cell.shots,
            text=self.features.class_text(),
            logit_scale=self.features.logit_scale,
            choosing=self.cell.regimes != ["last"],
            device=self.device,
            threads=self.threads,
            log=self.log,
            engine=engine,
            curve=self.cell.curve,
        )

    def _support(self, rows: Labels, raw: bool, views: bool) -> Support:
        train, augmented = self.features.splits["train"], self.features.train_views
        wanted = _taken(augmented, rows, raw) if views and augmented is not None else None
        return Support(_taken(train.x, rows, raw), train.y[rows], wanted)

    def judge(self, raw: bool) -> Judge:
        """The evaluator's side: the reported split, and `val` where the protocol looks at it."""
        val = self._queries("val", raw) if self.cell.looks_at_val else None
        classes = len(self.features.classnames)
        report = self._queries(self.cell.report, raw)
        return Judge(self.cell.regimes, classes, report, val, self._few, self.cell.metric)

    def _queries(self, split: str, raw: bool) -> Queries:
        part = self.features.splits[split]
        return Queries(self._on_device(_taken(part.x, np.arange(len(part.y)), raw)), part.y)

    def _on_device(self, x: Floats) -> Array:
        if self.device == "cpu":
            return x
        import torch

        return torch.from_numpy(x).to(self.device)


def _two_classes(cell: Cell, split: str, labels: Labels) -> None:
    """Raise UserError where the study's metric has no value on a split."""
    if cell.metric == "auroc" and len(np.unique(labels)) < 2:
        raise UserError(
            f"metric: auroc compares the images of a class with others, and all {len(labels)} images of "
            f"{cell.dataset}'s {split} are of one class; allowed there: {', '.join(scoring.FROM_GUESSES)}, accuracy"
        )


def _taken(x: Rows, rows: Labels, raw: bool) -> Floats:
    """Rows of `x`, scaled to unit length unless `raw`, a slice at a time: there is never a second copy of them."""
    taken: Floats = x[rows]
    if not raw:
        for start in range(0, len(taken), _SLICE):
            taken[start : start + _SLICE] = unit(taken[start : start + _SLICE])
    return taken


def evaluate(bench: Bench, method: Method) -> list[Result]:
    """Fit and score every variant with every seed. A wrong answer of the plugin names the variant and the seed."""
    there = needs.met(bench.features)
    results = []
    for wanted, group in _by_features(method, bench.cell.variants):
        runnable = [variant for variant in group if method.needs(variant["params"]) <= there]
        results += [_refused(bench, method, variant) for variant in group if variant not in runnable]
        if runnable:
            results += _run(bench, method, runnable, wanted)
    order = [variant["variant"] for variant in bench.cell.variants]
    return sorted(results, key=lambda result: order.index(result.variant))


def _by_features(
    method: Method, variants: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[bool, list[Mapping[str, Any]]]]:
    """The variants that take raw features and those that take unit ones."""

    def raw(variant: Mapping[str, Any]) -> bool:
        return method.raw(variant["params"])

    for wanted, group in groupby(sorted(variants, key=raw), key=raw):
        yield wanted, list(group)


def _refused(bench: Bench, method: Method, variant: Mapping[str, Any]) -> Result:
    reason = needs.reason(method.needs(variant["params"]), bench.features)
    return Result(variant["variant"], variant["params"], 0, {}, reason)


def wants_views(method: Method, variants: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a variant needs the augmented views: nobody else's job reads them."""
    return any("views" in method.needs(variant["params"]) for variant in variants)


def _run(bench: Bench, method: Method, variants: Sequence[Mapping[str, Any]], raw: bool) -> list[Result]:
    task = bench.task(raw, wants_views(method, variants), engines.engine(type(method)))
    judge = bench.judge(raw)
    replicas = [Replica(v["variant"], v["params"], seed) for v in variants for seed in range(bench.cell.seeds)]
    outcomes = fitting.outcomes(method, task, replicas, judge)
    for outcome in outcomes.values():
        outcome.notes += [short] if (short := bench.short()) else []
    return [
        Result(
            variant["variant"],
            variant["params"],
            method.trainable(task, variant["params"]),
            {replica.seed: outcomes[replica] for replica in replicas if replica.variant == variant["variant"]},
        )
        for variant in variants
    ]


def metrics(bench: Bench, outcome: Outcome, regime: str = "") -> dict[str, float]:
    """The metrics of one seed of one variant under a regime, the first if none is named: those of results.csv."""
    metric = bench.cell.metric
    scores = scoring.metrics(outcome.choices[regime or bench.cell.select].final(), bench.labels, metric)
    if len(outcome.curve) > 1:
        scores |= {f"{metric}_last": outcome.curve[-1], f"{metric}_peek": max(outcome.curve)}
    return scores | {"fit_seconds": outcome.fit_seconds}
