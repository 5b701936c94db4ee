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

HEADER = ("dataset", "backbone", "method", "variant", "shots", "seed", "metric", "value")


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
    peeking_gap: bool  # whether tables have a column of it
    curve: int  # points of a training that were scored at most; 0: every epoch
    references: Mapping[str, str]  # <dataset>.<backbone> -> file of published numbers
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

    def rows(self) -> list[tuple[str, str]]:
        """(label, variant) of every row, in config order, what learns nothing on top."""
        ordered = sorted(self.methods, key=lambda method: method["learns"])
        return [(method["label"], variant) for method in ordered for variant in method["variants"]]

    def cell(self, label: str, shots: str) -> str:
        """The shots in the file name of the cell that a column shows."""
        learns = any(method["learns"] for method in self.methods if method["label"] == label)
        return shots if learns else ZERO

    def path(self, folder: Path, dataset: str, backbone: str, label: str, shots: str, kind: str = "metrics") -> Path:
        """The cell's metrics, or its predictions, under results/<study>/."""
        suffix = {"metrics": "json", "predictions": "npz"}[kind]
        return folder / kind / dataset / backbone / label / f"{self.cell(label, shots)}.{suffix}"


Key = tuple[str, str, str, str]  # of a cell: dataset, backbone, label, shots of the file


@dataclass
class Results:
    """All records of a study by (dataset, backbone, label, shots of the file), and the files that are missing.

    `passed` tells by the key of a plugin whether it has passed its check since its cells were computed.
    """

    plan: Plan
    records: dict[Key, Record] = field(default_factory=dict)
    missing: list[Path] = field(default_factory=list)
    passed: Callable[[str], bool] = passed.has

    def accuracies(
        self, dataset: str, backbone: str, row: tuple[str, str], shots: str, regime: str = ""
    ) -> Sequence[float]:
        """The accuracy of every seed under a regime, the study's first if none is named; empty where there is none."""
        variant = self._variant(dataset, backbone, row, shots) or {"seeds": []}
        choices = [seed["also"][regime] if regime in self.plan.also else seed for seed in variant["seeds"]]
        return [choice["metrics"]["accuracy"] for choice in choices]

    def peeking_gaps(self, dataset: str, backbone: str, row: tuple[str, str], shots: str) -> Sequence[float]:
        """Best accuracy over the candidates minus the default's, of every seed; empty where there is no curve."""
        variant = self._variant(dataset, backbone, row, shots) or {"seeds": []}
        found = [seed["metrics"] for seed in variant["seeds"]]
        return [one["accuracy_peek"] - one["accuracy_last"] for one in found if "accuracy_peek" in one]

    def remarks(self, dataset: str, backbone: str, row: tuple[str, str]) -> list[str]:
        """What a reader of the row must know: why it is n/a, the notes of its fits; with the shots if not at all."""
        where: dict[str, list[str]] = {}
        for shots in self.plan.shots:
            variant = self._variant(dataset, backbone, row, shots) or {"reason": "not computed", "seeds": []}
            unchecked = self._unchecked(dataset, backbone, row, shots)
            notes = [variant["reason"], *(note for seed in variant["seeds"] for note in seed["notes"]), unchecked]
            for note in dict.fromkeys(filter(None, notes)):
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
        of_pair = (record for (d, b, *_), record in self.records.items() if (d, b) == (dataset, backbone))
        texts: list[str] = next((record["provenance"].get("prompts", {}).get("first", []) for record in of_pair), [])
        more = f" and {len(texts) - 2} more" if len(texts) > 2 else ""
        return [f"Prompts: {', '.join(map(repr, texts[:2]))}{more}, and likewise for every class."] if texts else []

    def missing_images(self, dataset: str, backbone: str) -> list[str]:
        """A line for the images that could not be read, and for the rows of zeros, if the features have any."""
        of_pair = (record for (d, b, *_), record in self.records.items() if (d, b) == (dataset, backbone))
        told: Record = next((record["provenance"].get("extraction", {}) for record in of_pair), {})
        lines = {
            "left_out": "images can't be read and are left out; the log of the features lists them.",
            "zeros": "rows of the features are zeros.",
        }
        return [f"{told[key]} {line}" for key, line in lines.items() if key in told]

    def _variant(self, dataset: str, backbone: str, row: tuple[str, str], shots: str) -> Record | None:
        label, name = row
        record = self.records.get((dataset, backbone, label, self.plan.cell(label, shots)))
        return next((v for v in record["variants"] if v["variant"] == name), None) if record else None


def gather(plan: Plan, folder: Path, pending: Collection[Key] = ()) -> Results:
    """Read every cell's record below results/<study>/; what is not there, or still `pending`, is listed."""
    results = Results(plan)
    for dataset in plan.datasets:
        for backbone in plan.backbones:
            for label in (method["label"] for method in plan.methods):
                for shots in dict.fromkeys(plan.cell(label, shots) for shots in plan.shots):
                    _take(results, folder, (dataset, backbone, label, shots), pending)
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
    protocol = {"report": plan.report, "select": plan.select, "also": list(plan.also)}
    learns = key[3] != ZERO
    found = {
        "cell": (record["study"], *(record[name] for name in ("dataset", "backbone", "method", "shots"))),
        "protocol": {"also": [], **record["protocol"]},
        "seeds": [[s["seed"] for s in v["seeds"]] for v in record["variants"] if v["status"] == "ok"],
        "regimes": [list(s.get("also", {})) for v in record["variants"] for s in v["seeds"]],
    }
    wanted = {
        "cell": (plan.study, *key),
        "protocol": protocol,
        "seeds": [list(range(plan.seeds if learns else 1))] * len(found["seeds"]),
        "regimes": [list(plan.also)] * len(found["regimes"]),
    }
    if wrong := next((name for name in found if found[name] != wanted[name]), None):
        told = f"found {brief(found[wrong])}, the study has {brief(wanted[wrong])}"
        raise UserError(f"{path}: not this study's: {wrong}: {told}; run the study, or delete the file and run it")


def tidy(results: Results) -> str:
    """results.csv: one line per dataset, backbone, method, variant, shots, seed and metric."""
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
                    yield dataset, backbone, label, variant["variant"], shots, seed["seed"], metric, repr(value)


def _metrics(seed: Record) -> Iterator[tuple[str, float]]:
    """The metrics under the study's first regime, and those that differ by regime as `accuracy@val_full`."""
    yield from sorted(seed["metrics"].items())
    for regime, choice in seed.get("also", {}).items():
        for metric, value in sorted(choice["metrics"].items()):
            if metric not in ("accuracy_last", "accuracy_peek", "fit_seconds"):
                yield f"{metric}@{regime}", value


def mean_ranks(results: Results) -> dict[tuple[str, str], float]:
    """The rank of each row's mean accuracy among the rows, averaged over data sets, backbones and shots.

    Rows that lack a cell have no rank (NaN).
    """
    from scipy.stats import rankdata

    rows = results.plan.rows()
    columns = [
        [_mean(results.accuracies(dataset, backbone, row, shots)) for row in rows]
        for dataset in results.plan.datasets
        for backbone in results.plan.backbones
        for shots in results.plan.shots
    ]
    ranks = np.array([rankdata(-np.array(column), nan_policy="omit") for column in columns]).mean(0)
    return dict(zip(rows, ranks.tolist(), strict=True))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def trainings(results: Results) -> str:
    """How many fits there were and what they took, in a sentence."""
    fits = [seed for record in results.records.values() for v in record["variants"] for seed in v["seeds"]]
    fitting = sum(fit["metrics"]["fit_seconds"] for fit in fits)
    total = sum(record["seconds"]["total"] for record in results.records.values())
    cells = len(results.records)
    return f"{len(fits)} classifiers in {cells} cells: {fitting:.0f} s of fitting, {total:.0f} s of computing in all."
