"""What a cell is to compute, and the fixed part of it: supports, queries, and how they are handed to the method."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from methods.contract import needs as arrays
from methods.contract.base import Array, Engine, Floats, Labels, Method, Replica, Support, Task, unit
from methods.contract.encoder import Model, TextEncoder
from methods.contract.shots import ALL, ZERO
from workflow.lib.errors import UserError
from workflow.lib.evaluation import cross_validation, scoring, support_files, supports, whole
from workflow.lib.evaluation.cross_validation import KEPT, Keeping, Table
from workflow.lib.evaluation.protocol import CROSS_VALIDATION, Judge, Queries, Weigh
from workflow.lib.features.blocks import Rows
from workflow.lib.features.store import Features, Split
from workflow.lib.features.stream import Stream

Log = Callable[[str], None]
_SLICE = 4096  # rows
Needs = Collection[str]
AS_CONFIGURED = "which no fold can leave out: parameters as configured, the last epoch"


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
    tuned: str = ""  # the name of the one row, where the protocol chooses among the variants
    made_of: Mapping[str, Any] = field(default_factory=dict)  # what the study says of the features, to be held to
    curve: int = 0  # points of a training that are scored at most; 0: every epoch
    metric: str = "accuracy"  # what candidates are chosen by
    folds: int = 0  # of the whole dataset, where it is cross-validated in place of a reported split
    calibrate: Mapping[str, Any] = field(default_factory=dict)  # what the study says of it

    @property
    def regimes(self) -> list[str]:
        """Every regime, the one that the tables are about first."""
        return [self.select, *self.also]

    @property
    def looks_at_val(self) -> bool:
        """Whether a regime chooses on val, or its choice is calibrated there."""
        return any(regime.startswith("val_") or self.calibrated_on(regime) == "val" for regime in self.regimes)

    def calibrated_on(self, regime: str) -> str:
        """The images that calibrate what a regime has chosen: those that the study names, or that it has chosen by.

        `val`, `val_fewshot` or `support_cv`; empty where there are none. Never the reported split.
        """
        chosen_by = {"val_full": "val", "val_fewshot": "val_fewshot", CROSS_VALIDATION: CROSS_VALIDATION}
        return str(self.calibrate.get("held_out") or chosen_by.get(regime, ""))

    def splits(self) -> list[str]:
        """The splits that the cell is about."""
        chosen = ["val"] if self.looks_at_val else []
        return list(dict.fromkeys(["train", *chosen, self.report]))

    def stored(self) -> list[str]:
        """The splits that it reads: all images are of train where they are cross-validated."""
        return ["train"] if self.folds else self.splits()


class Bench:
    """The fixed part of a cell: queries, supports, and how they are handed to the method.

    Of a cell with folds its reported split is all images, and `folds` are the benches on which they are answered;
    `without` are the images of such a bench's own fold. `encoder` is the text tower, and `model` both of them, or why
    there is none.
    """

    def __init__(
        self,
        cell: Cell,
        features: Features,
        device: str,
        threads: int,
        log: Log,
        without: Labels | None = None,
        encoder: TextEncoder | str = "",
        model: Model | str = "",
    ) -> None:
        if cell.folds:
            features = whole.reported(features, cell.report, without)
        self.cell, self.features, self.without = cell, features, without
        self.device, self.threads, self.log, self.encoder, self.model = device, threads, log, encoder, model
        self.labels = features.splits[cell.report].y
        for split in cell.splits()[1:] if without is None else ():
            _two_classes(cell, split, features.splits[split].y)
        self.folds: list[Bench] = []
        self.rows: dict[int, Labels]
        if cell.folds and cell.shots != ZERO and without is None:
            of_fold = whole.fold_rows(features, cell.folds)
            self.folds = [Bench(cell, features, device, threads, log, rows, encoder, model) for rows in of_fold]
            self.rows = self.folds[0].rows
            return
        self.rows = {seed: self._draw(seed) for seed in range(cell.seeds)}
        few = "val_fewshot" in cell.regimes
        self._few = {seed: self._draw_val(seed) for seed in range(cell.seeds)} if few else {}

    def _draw(self, seed: int) -> Labels:
        cell = self.cell
        return support_files.support(
            self.features, cell.shots, seed, cell.supports, cell.allow_fewer, without=self.without
        )

    def tables(self, method: Method, task: Task, replicas: Sequence[Replica]) -> dict[Replica, Table]:
        """What comes out of folds, where it is asked for: scores for `support_cv` to choose by, logits to calibrate."""
        cell = self.cell
        calibrated = [regime for regime in cell.regimes if cell.calibrated_on(regime) == CROSS_VALIDATION]
        if CROSS_VALIDATION not in cell.regimes and not calibrated:
            return {}
        keep_all = bool(cell.tuned) or cell.calibrate.get("held_out") == CROSS_VALIDATION
        keeping = Keeping(latest=calibrated == ["last"]) if calibrated else None
        return cross_validation.tables(method, task, replicas, self.on_device, cell.metric, keep_all, keeping)

    def held_labels(self, on: str, seed: int) -> Labels:
        """The labels `(n,)` of the images that calibrate a seed's choices."""
        if on == CROSS_VALIDATION:
            return self.features.splits["train"].y[self.rows[seed]]
        labels = self.features.splits["val"].y
        return labels[self._few[seed]] if on == "val_fewshot" else labels

    def held_rows(self, on: str, seed: int) -> Labels | slice:
        """Which images of val these are."""
        return self._few[seed] if on == "val_fewshot" else slice(None)

    def remarks(self, seed: int, choosing: bool) -> list[str]:
        """What a reader of a row must know of a seed's support: classes with few images, and what follows from it."""
        images = self._images(seed)
        found = [self._short(images)]
        if choosing and CROSS_VALIDATION in self.cell.regimes:
            found.append(self._no_folds(images))
        return [remark for remark in found if remark]

    def support_sizes(self) -> dict[int, int]:
        """How many images each seed has drawn."""
        return {seed: len(rows) for seed, rows in self.rows.items()}

    def _images(self, seed: int) -> Labels:
        """How many images of each class a seed has drawn `(K,)`."""
        return np.bincount(self.features.splits["train"].y[self.rows[seed]], minlength=len(self.features.classnames))

    def _no_folds(self, images: Labels) -> str:
        alone = self._alone(images)
        return f"{CROSS_VALIDATION}: {alone} one image, {AS_CONFIGURED}" if alone else ""

    def _alone(self, images: Labels) -> str:
        """The classes with one image, `class 'a' has` or `3 classes have`; nothing where there are none."""
        if not images.any() or min(images[images > 0]) > 1:
            return ""
        alone = np.flatnonzero(images == 1)
        return f"class '{self.features.classnames[alone[0]]}' has" if len(alone) == 1 else f"{len(alone)} classes have"

    def uncalibrated(self, seed: int, choosing: bool) -> str:
        """Why the support of a seed gives no logits out of folds; `choosing`: whether there was something to choose."""
        if self.cell.shots == ZERO:
            return "nothing is fitted to a support, and so there is none to calibrate on"
        if alone := self._alone(self._images(seed)):
            return f"{alone} one image, which no fold can leave out"
        if not choosing and self.cell.calibrate.get("held_out") != CROSS_VALIDATION:
            return "nothing was chosen, and so no fold left out; `calibrate: {held_out: support_cv}` leaves them out"
        return f"the logits of all candidates out of folds take more than {KEPT >> 20} MB"

    def _short(self, images: Labels) -> str:
        """A remark on the classes that have fewer images than shots, if there are any."""
        if self.cell.shots in (ZERO, ALL):
            return ""
        fewer = int((images < int(self.cell.shots)).sum())
        return f"{fewer} classes have fewer than {self.cell.shots} images" if fewer else ""

    def _draw_val(self, seed: int) -> Labels:
        return supports.draw_val(self.features.splits["val"].y, self.features.classnames, self.cell.shots, seed)

    def task(self, raw: bool, needs: Needs = (), engine: Engine | None = None) -> Task:
        """What the method sees: supports of all seeds and text, nothing of the reported split.

        `needs` are those of its variants: of what only some methods need, nothing else is read.
        """
        each = self.features.each_text() if "text_each" in needs else None
        return Task(
            supports={seed: self._support(rows, raw, needs) for seed, rows in self.rows.items()},
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
            text_raw=self.features.raw_text(),
            text_each=None if each is None else unit(each),
            projection=self.features.projection if "pre" in needs else None,
            encoder=None if isinstance(self.encoder, str) or "text_encoder" not in needs else self.encoder,
            model=None if isinstance(self.model, str) or "model" not in needs else self.model,
        )

    def _support(self, rows: Labels, raw: bool, needs: Needs) -> Support:
        train, pre = self.features.splits["train"], "pre" in needs
        augmented = self.features.views_pre if pre else self.features.train_views
        x, y = _rows(train, rows, raw, needs), train.y[rows]
        if augmented is None or "views" not in needs:
            return Support(x, y)
        wanted: Floats = augmented[rows]
        if raw or pre:
            return Support(x, y, wanted)
        lengths = np.sqrt(np.einsum("nvd,nvd->nv", wanted, wanted))  # without a copy, which a norm would make
        return Support(x, y, _made_unit(wanted), lengths)

    def judge(
        self,
        raw: bool,
        needs: Needs = (),
        held_out: Mapping[Replica, Table] | None = None,
        weigh: Weigh | None = None,
    ) -> Judge:
        """The evaluator's side: the reported split, `val` where a regime looks at it, and the scores out of folds."""
        val = self._queries("val", raw, needs) if self.cell.looks_at_val else None
        classes = len(self.features.classnames)
        report = self._queries(self.cell.report, raw, needs)
        # Of a fold's images nothing is chosen, and accuracies alone add up to that of all images.
        metric = self.cell.metric if self.without is None else "accuracy"
        on_val = [regime for regime in self.cell.regimes if self.cell.calibrated_on(regime).startswith("val")]
        return Judge(self.cell.regimes, classes, report, val, self._few, metric, held_out, on_val, weigh)

    def _queries(self, split: str, raw: bool, needs: Needs) -> Queries:
        part = self.features.splits[split]
        if (images := _images(part, needs)) is not None:
            return Queries(images, part.y)
        return Queries(self.on_device(_rows(part, np.arange(len(part.y)), raw, needs)), part.y)

    def on_device(self, x: Floats) -> Array:
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


def _rows(split: Split, rows: Labels, raw: bool, needs: Needs) -> Floats:
    """What a method with these needs is to see of some images: see `Support`."""
    if "pre" in needs and split.pre is not None:
        before: Floats = split.pre[rows]
        return before
    if (images := _images(split, needs)) is not None:
        return images[rows]
    x = _taken(split.x, rows, raw)
    if "spatial_logits" in needs and split.spatial_logits is not None:
        both = split.spatial_logits[rows]
        return np.concatenate([x, both[:, 0], both[:, 1]], axis=1)  # a reshape would not do with no rows
    return x


def _images(split: Split, needs: Needs) -> Stream | None:
    """The array of images of a split that a method with these needs is to see, if it is one of those."""
    return next((Stream(split.images[name]) for name in arrays.arrays(needs) if arrays.is_image(name)), None)


def _taken(x: Rows, rows: Labels, raw: bool) -> Floats:
    """Rows of `x`, scaled to unit length unless `raw`, a slice at a time: there is never a second copy of them."""
    taken: Floats = x[rows]
    return taken if raw else _made_unit(taken)


def _made_unit(x: Floats) -> Floats:
    """`x` itself, its rows scaled to unit length."""
    for start in range(0, len(x), _SLICE):
        x[start : start + _SLICE] = unit(x[start : start + _SLICE])
    return x
