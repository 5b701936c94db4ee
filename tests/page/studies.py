"""Results of studies for the page, without a run: records and predictions that belong together, and names that hurt."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from methods.contract.shots import ZERO
from tests.reporting import grid
from workflow.lib.evaluation import scoring
from workflow.lib.reporting.results import Plan

NASTY = [
    "</script><script>window.bad = 1</script>",
    "\"quoted\" & 'so' <img src=x onerror='window.bad = 1'>",
    "$x^2$ \\input{a} 100 % #1 ~ {b}",
    "Größe Äpfel 漢字 \u2028 next <!-- x",
    "x" * 300,
    "fine",
]
METHODS = [
    {"label": "zero_shot", "variants": ["-"], "learns": False},
    {
        "label": "probe",
        "variants": ["scale=none", "scale=standard", f"scale={NASTY[0]}", f"scale={NASTY[2]}"],
        "learns": True,
    },
    {"label": "adapter", "variants": ["-", "long=" + "x" * 300, "quote=\"'ü"], "learns": True},
    {"label": "text_only", "variants": ["-"], "learns": True},
]
SHOTS = ["1", "4", "16", "all"]
IMAGES = {"1": 1, "4": 4, "16": 16, "all": 40}


def plan(**changes: Any) -> Plan:
    """Two datasets, one backbone, four numbers of shots, three seeds, two regimes."""
    return grid.plan(**{"shots": SHOTS, "seeds": 3, "methods": METHODS, "also": ["report"]} | changes)


def write(
    folder: Path, made: Plan, classes: Sequence[str] = NASTY, images: int = 120, without: Sequence[str] = ()
) -> Path:
    """The study's files; cells of the methods `without` are missing, with a log that says why."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(asdict(made)))
    for number, key in enumerate(made.cells()):
        log = folder.joinpath("logs", *key[:3], f"{key[3]}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        if key[2] in without:
            log.write_text("error: <b>out of memory</b>\n")
            continue
        log.write_text("epoch 1\nepoch 2 <i>done</i>\n")
        _cell(folder, made, key, number, classes, images)
    return folder


def _cell(
    folder: Path, made: Plan, key: tuple[str, str, str, str], number: int, classes: Sequence[str], images: int
) -> None:
    rng = np.random.default_rng(number)
    labels = np.arange(images) % len(classes)
    method = next(one for one in made.methods if one["label"] == key[2])
    seeds = made.seeds if method["learns"] else 1
    skill = 0.35 if key[3] == ZERO else 0.3 + 0.12 * np.log2(IMAGES.get(key[3], 8) + 1) / 1.5 + 0.02 * (number % 5)
    right = rng.random((len(method["variants"]), seeds, images)) < skill
    said = np.where(right, labels, rng.integers(0, len(classes), right.shape))
    variants = [_variant(name, said[i], labels, made, method["label"]) for i, name in enumerate(method["variants"])]
    ran = [i for i, variant in enumerate(variants) if variant["status"] == "ok"]
    record = grid.record({}, key, variants=variants, classes=len(classes), queries=images) | {
        "study": made.study,
        "support": len(classes) * IMAGES.get(key[3], 0),
        "protocol": {"report": "test", "select": made.select, "also": list(made.also)},
    }
    path = made.path(folder, *key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))
    _predictions(
        made.path(folder, *key, "predictions"), said[ran], labels, [variants[i]["variant"] for i in ran], classes
    )


def _variant(name: str, said: np.ndarray, labels: np.ndarray, made: Plan, label: str) -> dict[str, Any]:
    if label == "text_only":
        return {
            "variant": name,
            "params": {},
            "status": "n/a",
            "reason": "needs <text>, and the features have none",
            "trainable_parameters": 0,
            "seeds": [],
        }
    return {
        "variant": name,
        "params": {"scale": name, "note": "<b>"},
        "status": "ok",
        "reason": "",
        "trainable_parameters": 0 if label == "zero_shot" else 512 * (1 + len(name)),
        "classifier_bytes": 1024 if label == "zero_shot" else 2048 * len(name),
        "seeds": [_seed(seed, guess, labels, made) for seed, guess in enumerate(said)],
    }


def _seed(seed: int, guess: np.ndarray, labels: np.ndarray, made: Plan) -> dict[str, Any]:
    accuracy = float((guess == labels).mean())
    metrics: Mapping[str, float] = {
        "accuracy": accuracy,
        "accuracy_last": accuracy,
        "accuracy_peek": min(1.0, accuracy + 0.02),
        "mean_per_class": scoring.FROM_GUESSES["mean_per_class"](guess, labels),
        "top5": 0.9,
        "nll": 1.5 - accuracy,
        "ece": 0.1,
        "fit_seconds": 0.25 + accuracy,
    }
    also = {
        regime: {"metrics": dict(metrics) | {"accuracy": metrics["accuracy_peek"]}, "point": {}} for regime in made.also
    }
    curve = [round(accuracy * step / 5, 4) for step in range(1, 6)]
    point = {"epoch": 5}
    return {
        "seed": seed,
        "metrics": metrics,
        "point": point,
        "also": also,
        "curve": curve,
        "curve_at": [1, 2, 3, 4, 5],
        "notes": [],
        "calibration": {"held_out": "val", "images": 24, "level": 0.9},
    }


def _predictions(path: Path, said: np.ndarray, labels: np.ndarray, variants: list[str], classes: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        labels=labels,
        predicted=said.astype(np.int32),
        confidence=np.linspace(0.2, 1, said.size, dtype=np.float32).reshape(said.shape),
        calibrated_confidence=np.linspace(0.3, 0.9, said.size, dtype=np.float32).reshape(said.shape),
        calibrated_right=(said == labels).astype(np.int32),
        covered=((said == labels) | (labels == 1)).astype(np.int8),
        set_size=np.broadcast_to(1 + labels % 3, said.shape).astype(np.int32),
        variants=np.array(variants, dtype=np.str_),
        classnames=np.array(classes, dtype=np.str_),
        splits=np.array(["test"]),
        images=np.bincount(labels, minlength=len(classes))[None],
    )
