"""The records of a study gathered: which row of a table has which accuracies."""

import csv
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from methods.contract.params import brief
from methods.contract.shots import ZERO
from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.evaluation import records
from workflow.lib.evaluation.records import Record
from workflow.lib.jobs import passed

HEADER = ("study", "dataset", "backbone", "method", "variant", "shots", "seed", "metric", "value")
Key = tuple[str, str, str, str]  # of a cell: dataset, backbone, label, shots of the file


@dataclass(frozen=True)
class Plan:
    """What a study's tables need of it: the grid in order, and the protocol."""

    study: str
    datasets: Sequence[str]
    backbones: Sequence[str]
    shots: Sequence[str]
    seeds: int
    report: str
    select: str
    also: Sequence[str]  # further regimes
    metric: str  # of the study; empty where it names none
    peeking_gap: bool  # whether tables have a column of it
    curve: int  # points of a training that were scored at most; 0: every epoch
    references: Mapping[str, str]  # <dataset>.<backbone> -> file of published numbers
    folds: Mapping[str, int]  # of the datasets that are cross-validated
    thumbnails: bool  # whether the page may show small pictures of the images
    calibrates: bool  # whether there are images to calibrate on
    methods: Sequence[Mapping[str, Any]]  # {"label": …, "variants": [names], "learns": bool}, in config order

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """The plan of a study that has been run, from its results. Raises UserError where there is none."""
        path = folder / "study.json"
        if not path.is_file():
            raise UserError(f"{path}: no such file: run the study first")
        value = files.read_json(path)
        records.check(value, str(path), "plan")
        return cls(**value)

    @property
    def by(self) -> str:
        """The metric that decides: the study's, or accuracy."""
        return self.metric or "accuracy"

    def reported(self, dataset: str = "") -> str:
        """What a dataset's numbers are on, in words; without one those of the study."""
        folded = [dataset in self.folds] if dataset else [name in self.folds for name in self.datasets]
        if all(folded):
            return "all images"
        return f"{self.report}, or all images where cross-validated" if any(folded) else self.report

    def pairs(self) -> list[tuple[str, str]]:
        """Every dataset and backbone."""
        return [(dataset, backbone) for dataset in self.datasets for backbone in self.backbones]

    def rows(self) -> list[tuple[str, str]]:
        """(label, variant) of every row, in config order, what learns nothing on top."""
        ordered = sorted(self.methods, key=lambda method: method["learns"])
        return [(method["label"], variant) for method in ordered for variant in method["variants"]]

    def cells(self) -> list[Key]:
        """Every cell: dataset, backbone, label, shots of the file."""
        return [
            (dataset, backbone, label, shots)
            for dataset, backbone in self.pairs()
            for label in (method["label"] for method in self.methods)
            for shots in dict.fromkeys(self.cell(label, shots) for shots in self.shots)
        ]

    def cell(self, label: str, shots: str) -> str:
        """The shots in the file name of the cell that a column shows."""
        learns = any(method["learns"] for method in self.methods if method["label"] == label)
        return shots if learns else ZERO

    def path(self, folder: Path, dataset: str, backbone: str, label: str, shots: str, kind: str = "metrics") -> Path:
        """The cell's metrics, or its predictions, under results/<study>/."""
        suffix = {"metrics": "json", "predictions": "npz"}[kind]
        return folder / kind / dataset / backbone / label / f"{self.cell(label, shots)}.{suffix}"


@dataclass
class Results:
    """All records of a study by (dataset, backbone, label, shots of the file), and the files that are missing.

    `passed` tells by the key of a plugin whether it has passed its check since its cells were computed.
    """

    plan: Plan
    records: dict[Key, Record] = field(default_factory=dict)
    missing: list[Path] = field(default_factory=list)
    passed: Callable[[str], bool] = passed.has

    def values(
        self, dataset: str, backbone: str, row: tuple[str, str], shots: str, regime: str = "", metric: str = ""
    ) -> Sequence[float]:
        """A metric of every seed under a regime: by default the study's, and its first regime; empty without a cell."""
        variant = self._variant(dataset, backbone, row, shots) or {"seeds": []}
        choices = [seed["also"][regime] if regime in self.plan.also else seed for seed in variant["seeds"]]
        return [choice["metrics"][metric or self.plan.by] for choice in choices]

    def peeking_gaps(self, dataset: str, backbone: str, row: tuple[str, str], shots: str) -> Sequence[float]:
        """The best over the candidates minus the default's, of every seed; empty where there is no curve."""
        variant = self._variant(dataset, backbone, row, shots) or {"seeds": []}
        found, by = [seed["metrics"] for seed in variant["seeds"]], self.plan.by
        return [one[f"{by}_peek"] - one[f"{by}_last"] for one in found if f"{by}_peek" in one]

    def remarks(
        self, dataset: str, backbone: str, row: tuple[str, str], more: Mapping[str, str] | None = None
    ) -> list[str]:
        """What a reader of the row must know: why it is n/a, the notes of its fits, and `more` by shots.

        Each once, with the shots that it is about unless these are all.
        """
        where: dict[str, list[str]] = {}
        for shots in self.plan.shots:
            variant = self._variant(dataset, backbone, row, shots) or {"reason": "not computed", "seeds": []}
            notes = [variant["reason"], *(note for seed in variant["seeds"] for note in seed["notes"])]
            notes.append(self._unchecked(dataset, backbone, row, shots))
            for note in dict.fromkeys(filter(None, [*notes, (more or {}).get(shots)])):
                where.setdefault(note, []).append(shots)
        everywhere = list(self.plan.shots)
        return [note if at == everywhere else f"shots {', '.join(at)}: {note}" for note, at in where.items()]

    def _unchecked(self, dataset: str, backbone: str, row: tuple[str, str], shots: str) -> str:
        """A remark on a plugin that nobody has checked here, or nothing."""
        record = self.records.get((dataset, backbone, row[0], self.plan.cell(row[0], shots)))
        check = record["provenance"].get("check") if record else None
        if not check or check["passed"] or self.passed(check["key"]):
            return ""
        return f"not checked that it keeps the contract: {check['command']}, then the study's command again"

    def prompts(self, dataset: str, backbone: str) -> list[str]:
        """A line with the prompts of the first class, where the features have text of ours."""
        texts: list[str] = self._features(dataset, backbone).get("prompts", {}).get("first", [])
        more = f" and {len(texts) - 2} more" if len(texts) > 2 else ""
        return [f"Prompts: {', '.join(map(repr, texts[:2]))}{more}, and likewise for every class."] if texts else []

    def missing_images(self, dataset: str, backbone: str) -> list[str]:
        """A line for the images that could not be read, and for the rows of zeros, if the features have any."""
        told: Record = self._features(dataset, backbone).get("extraction", {})
        lines = {
            "left_out": "images can't be read and are left out; the log of the features lists them.",
            "zeros": "rows of the features are zeros.",
        }
        return [f"{told[key]} {line}" for key, line in lines.items() if key in told]

    def _features(self, dataset: str, backbone: str) -> Record:
        """The provenance of a cell of a dataset and backbone, the first: all have the same features."""
        of_pair = (record for key, record in self.records.items() if key[:2] == (dataset, backbone))
        return next((record["provenance"] for record in of_pair), {})

    def _variant(self, dataset: str, backbone: str, row: tuple[str, str], shots: str) -> Record | None:
        label, name = row
        record = self.records.get((dataset, backbone, label, self.plan.cell(label, shots)))
        return next((v for v in record["variants"] if v["variant"] == name), None) if record else None


def gather(plan: Plan, folder: Path, pending: Collection[Key] = ()) -> Results:
    """Read every cell's record below results/<study>/; what is not there, or still `pending`, is listed."""
    results = Results(plan)
    for key in plan.cells():
        _take(results, folder, key, pending)
    return results


def _take(results: Results, folder: Path, key: Key, pending: Collection[Key]) -> None:
    path = results.plan.path(folder, *key)
    if path.exists() and key not in pending:
        results.records[key] = records.read(path)
        _check_place(results.plan, key, results.records[key], path)
    else:
        results.missing.append(path)


def _check_place(plan: Plan, key: Key, record: Record, path: Path) -> None:
    """Raise UserError unless a record is of the cell and of the protocol that its path and the study say it is of."""
    protocol = {"report": plan.report, "select": plan.select, "also": list(plan.also), "metric": plan.by}
    learns = key[3] != ZERO
    found = {
        "cell": (record["study"], *(record[name] for name in ("dataset", "backbone", "method", "shots"))),
        "protocol": {"also": [], "metric": "accuracy", **record["protocol"]},
        "seeds": [[s["seed"] for s in v["seeds"]] for v in record["variants"] if v["status"] == "ok"],
        # A record is JSON with its keys in order.
        "regimes": [sorted(s.get("also", {})) for v in record["variants"] for s in v["seeds"]],
        "metrics without": "" if all(plan.by in metrics for metrics in _every(record)) else plan.by,
    }
    wanted: dict[str, Any] = {
        "cell": (plan.study, *key),
        "protocol": protocol,
        "seeds": [list(range(plan.seeds if learns else 1))] * len(found["seeds"]),
        "regimes": [sorted(plan.also)] * len(found["regimes"]),
        "metrics without": "",
    }
    if wrong := next((name for name in found if found[name] != wanted[name]), None):
        told = f"found {brief(found[wrong])}, the study has {brief(wanted[wrong])}"
        raise UserError(f"{path}: not this study's: {wrong}: {told}; run the study, or delete the file and run it")


def _every(record: Record) -> Iterator[Mapping[str, float]]:
    """The metrics of every seed under every regime."""
    for seed in (seed for variant in record["variants"] for seed in variant["seeds"]):
        yield from (choice["metrics"] for choice in [seed, *seed.get("also", {}).values()])


def tidy(results: Results) -> str:
    """results.csv: one line per study, dataset, backbone, method, variant, shots, seed and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(_lines(results))
    return text.getvalue()


def _lines(results: Results) -> Iterator[tuple[Any, ...]]:
    for (dataset, backbone, label, shots), record in results.records.items():
        for variant in record["variants"]:
            for seed in variant["seeds"]:
                for metric, value in _metrics(seed):
                    where = (record["study"], dataset, backbone, label, variant["variant"], shots, seed["seed"])
                    yield *where, metric, repr(value)


def _metrics(seed: Record) -> Iterator[tuple[str, float]]:
    """The metrics under the study's first regime, and those that differ by regime as `accuracy@val_full`."""
    yield from sorted(seed["metrics"].items())
    for regime, choice in seed.get("also", {}).items():
        for metric, value in sorted(choice["metrics"].items()):
            if not metric.endswith(("_last", "_peek", "_seconds")):
                yield f"{metric}@{regime}", value


def mean_ranks(results: Results, metric: str = "") -> dict[tuple[str, str], float]:
    """The rank of each row's mean among the rows, averaged over datasets, backbones and shots.

    Rows that lack a cell have no rank (NaN). Equal hits tie: see `exact_mean`.
    """
    plan, rows = results.plan, results.plan.rows()
    columns = [
        [exact_mean(results.values(dataset, backbone, row, shots, metric=metric)) for row in rows]
        for dataset, backbone in plan.pairs()
        for shots in plan.shots
    ]
    ranks = np.array([ranked(column) for column in columns]).mean(0)
    return dict(zip(rows, ranks.tolist(), strict=True))


def ranked(means: Sequence[float]) -> Sequence[float]:
    """Ranks from 1, the best; of equals the mean of theirs; NaN for NaN."""
    from scipy.stats import rankdata

    return list(rankdata(-np.array(means), nan_policy="omit"))


def exact_mean(values: Sequence[float]) -> float:
    """A mean that is equal where the hits are: sums of fractions in another order differ in the 16th digit.

    Other hits differ by at least one in seeds times images, of which 10 digits hold ten thousand million.
    """
    return round(float(np.mean(values)), 10) if len(values) else float("nan")


def trainings(results: Results) -> str:
    """How many fits there were and what they took, in a sentence."""
    fits = [seed for record in results.records.values() for v in record["variants"] for seed in v["seeds"]]
    fitting = sum(fit["metrics"]["fit_seconds"] for fit in fits)
    total = sum(record["seconds"]["total"] for record in results.records.values())
    cells = len(results.records)
    return f"{len(fits)} classifiers in {cells} cells: {fitting:.0f} s of fitting, {total:.0f} s of computing in all."
