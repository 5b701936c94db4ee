"""A small study's plan and records, made by hand: what tables and results are tested on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow.lib.reporting.results import Plan, Results

Accuracies = Mapping[str, Sequence[float] | str]  # by variant: one for each seed, or the reason for n/a


def plan(**changes: Any) -> Plan:
    """Two datasets, one backbone, two numbers of shots, two seeds; three methods, zero-shot in the middle."""
    methods = [
        {"label": "probe", "variants": ["scale=none", "scale=standard"], "learns": True},
        {"label": "zero_shot", "variants": ["-"], "learns": False},
        {"label": "adapter", "variants": ["-"], "learns": True},
    ]
    base: dict[str, Any] = {
        "study": "trial",
        "datasets": ["digits", "planes"],
        "backbones": ["nano"],
        "shots": ["1", "all"],
        "seeds": 2,
        "report": "test",
        "select": "last",
        "also": [],
        "metric": "",
        "peeking_gap": False,
        "curve": 0,
        "references": {},
        "folds": {},
        "thumbnails": True,
        "calibrates": False,
        "methods": methods,
    }
    return Plan(**(base | changes))


def record(
    accuracies: Accuracies,
    place: tuple[str, str, str, str] = ("digits", "nano", "probe", "1"),
    notes: Sequence[str] = (),
    **changes: Any,
) -> dict[str, Any]:
    """A cell's record; all metrics but the accuracy are the same everywhere."""
    dataset, backbone, label, shots = place
    return {
        "format": 1,
        "study": "trial",
        "dataset": dataset,
        "backbone": backbone,
        "method": label,
        "plugin": label,
        "shots": shots,
        "protocol": {"report": "test", "select": "last"},
        "classes": 10,
        "queries": 100,
        "support": 10,
        "variants": [_variant(name, found, notes) for name, found in accuracies.items()],
        "seconds": {"start": 0.1, "read": 0.1, "fit": 1.0, "score": 0.1, "total": 1.3},
        "provenance": {
            "versions": {"python": "3.11.0"},
            "commit": "",
            "device": "cpu",
            "threads": 1,
            "features": "features/nano/digits.safetensors",
            "features_sha256": "0" * 64,
            "code": "0123456789abcdef",
            "peak_memory_mb": 100.0,
            "peak_gpu_memory_mb": 0.0,
        },
    } | changes


def _variant(name: str, found: Sequence[float] | str, notes: Sequence[str]) -> dict[str, Any]:
    reason, accuracies = (found, []) if isinstance(found, str) else ("", found)
    return {
        "variant": name,
        "params": {},
        "status": "n/a" if reason else "ok",
        "reason": reason,
        "trainable_parameters": 0,
        "seeds": [_seed(seed, accuracy, notes) for seed, accuracy in enumerate(accuracies)],
    }


def _seed(seed: int, accuracy: float, notes: Sequence[str]) -> dict[str, Any]:
    metrics = {"accuracy": accuracy, "mean_per_class": 0.5, "top5": 0.9, "nll": 1.5, "ece": 0.1, "fit_seconds": 0.25}
    return {"seed": seed, "metrics": metrics, "point": {}, "curve": [], "curve_at": [], "notes": list(notes)}


# digits: probe, zero-shot, adapter; then planes.
CELLS: dict[tuple[str, str, str, str], Accuracies] = {
    ("digits", "nano", "probe", "1"): {"scale=none": [0.30, 0.34], "scale=standard": [0.40, 0.44]},
    ("digits", "nano", "probe", "all"): {"scale=none": [0.80, 0.82], "scale=standard": [0.90, 0.90]},
    ("digits", "nano", "zero_shot", "0"): {"-": [0.50]},
    ("digits", "nano", "adapter", "1"): {"-": [0.60, 0.50]},
    ("digits", "nano", "adapter", "all"): {"-": [0.70, 0.72]},
    ("planes", "nano", "probe", "1"): {"scale=none": [0.10, 0.10], "scale=standard": [0.12, 0.14]},
    ("planes", "nano", "probe", "all"): {"scale=none": [0.40, 0.42], "scale=standard": [0.46, 0.48]},
    ("planes", "nano", "zero_shot", "0"): {"-": [0.25]},
    ("planes", "nano", "adapter", "1"): {"-": [0.20, 0.30]},
    ("planes", "nano", "adapter", "all"): {"-": [0.45, 0.49]},
}


def results(cells: Mapping[tuple[str, str, str, str], Accuracies] = CELLS, **changes: Any) -> Results:
    """The records of a study, gathered."""
    return Results(plan(**changes), {place: record(found, place) for place, found in cells.items()})


def write(folder: Path, cells: Mapping[tuple[str, str, str, str], Accuracies] = CELLS) -> None:
    """The records as files below results/<study>/."""
    for place, found in cells.items():
        path = folder.joinpath("metrics", *place).with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(found, place)))
