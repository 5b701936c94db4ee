"""Which row of a study is shipped, and what the study has measured of it: read from the study's tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from methods.contract.shots import ZERO
from workflow.lib.errors import UserError
from workflow.lib.shipping.fitting import Row

RECOMMENDATION, RESULTS = "recommendation.csv", "results.csv"
METRICS = (
    "accuracy",
    "mean_per_class",
    "macro_f1",
    "auroc",
    "nll_calibrated",
    "ece_calibrated",
    "coverage",
    "set_size",
)
Line = Mapping[str, str]


@dataclass(frozen=True)
class Chosen:
    """The row, and what was measured of it: `{"metric", "value", "low", "high", "from"}`, ends null where not known."""

    row: Row
    expected: Sequence[Mapping[str, Any]]


def row(asked: Mapping[str, Any], tables: Path) -> Chosen:
    """The row that the study names, or the one that its tables recommend at the largest number of shots.

    Raises `UserError` where the tables recommend nothing, or a row that the study no longer has.
    """
    advice = [line for line in _lines(tables / RECOMMENDATION) if _here(asked, line)]
    if asked["method"]:
        label, variant = asked["method"], asked["variant"]
        shots = asked["shots"] or asked["most"]
    elif advice:
        label, variant, shots = (advice[-1][key] for key in ("method", "variant", "shots"))
    else:
        pair = f"{asked['dataset']}, {asked['backbone']}"
        raise UserError(
            f"ship: {tables / RECOMMENDATION} recommends nothing for {pair}; name a row: `ship: {{method: …}}`"
        )
    entry = asked["methods"].get(label)
    if entry is None or (variant and variant not in entry["rows"]):
        raise UserError(f"ship: the study has no row {label} ({variant}); run it again, so that its tables are of now")
    name = variant or entry["rows"][0]
    wanted = entry["variants"] if entry["tuned"] else [one for one in entry["variants"] if one["variant"] == name]
    made = Row(
        asked["study"], asked["dataset"], asked["backbone"], label, entry["method"], wanted, asked["select"],
        asked["metric"],
    )  # fmt: skip
    return Chosen(made, list(_expected(asked, tables, advice, label, name, shots if entry["learns"] else ZERO)))


def _expected(
    asked: Mapping[str, Any], tables: Path, advice: Sequence[Line], label: str, variant: str, shots: str
) -> Iterator[dict[str, Any]]:
    """What the tables say of the row, the study's metric first."""
    values: dict[str, list[float]] = {}
    for line in _lines(tables / RESULTS):
        if _here(asked, line) and (line["method"], line["variant"], line["shots"]) == (label, variant, shots):
            values.setdefault(line["metric"], []).append(float(line["value"]))
    number = "no labelled image" if shots == ZERO else f"{shots} labelled images of each class"
    ours = next(
        (one for one in advice if (one["method"], one["variant"], one["shots"]) == (label, variant, shots)), None
    )
    for metric in sorted({*METRICS} & values.keys(), key=lambda one: (one != asked["metric"], METRICS.index(one))):
        mean = float(np.mean(values[metric]))
        found = {"metric": metric, "value": mean, "low": None, "high": None}
        seeds = len(values[metric])
        found["from"] = f"on {asked['report']} with {number}" + (f", mean of {seeds} seeds" if seeds > 1 else "")
        if metric == asked["metric"]:
            found |= _interval(tables, asked, ours, label, variant, shots)
        yield found


def _interval(
    tables: Path, asked: Mapping[str, Any], ours: Line | None, label: str, variant: str, shots: str
) -> dict[str, Any]:
    """The value with its 95 % interval as the recommendation has it, or the interval of the table of intervals."""
    if ours is not None and ours["value"]:
        return {key: float(ours[key]) if ours[key] else None for key in ("value", "low", "high")}
    name = label if variant == "-" else f"{label} ({variant})"
    heading = {ZERO: "", "1": "1 shot", "all": "all"}.get(shots, f"{shots} shots")
    for line in _lines(tables / f"{asked['dataset']}.{asked['backbone']}.intervals.csv"):
        if line["method"] == name:
            cell = next((text for column, text in line.items() if column.startswith(heading) and " to " in text), "")
            ends = [float(end) / 100 for end in cell.split(" to ")] if cell else [None, None]
            return dict(zip(("low", "high"), ends, strict=True))
    return {}


def _here(asked: Mapping[str, Any], line: Line) -> bool:
    return line["dataset"] == asked["dataset"] and line["backbone"] == asked["backbone"]


def _lines(path: Path) -> list[Line]:
    """The lines of a table; none where there is no such table."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
