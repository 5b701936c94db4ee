"""A small study whose cells are really computed, its tables and its recommendation made by their own programs."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods.contract.base import Method
from methods.zero_shot import ZeroShot
from tests.evaluation.test_cell import PLAIN, Means
from tests.evaluation.test_trust import Stages
from tests.reporting import grid
from tests.samples import make_features
from workflow.lib import files
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import predictions, records
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.features.store import Features
from workflow.lib.reporting.results import Plan
from workflow.scripts import recommend, recommendations, tables

SECONDS = dict.fromkeys(("start", "read", "fit", "score", "total"), 0.1)
ORIGIN = {
    "versions": {},
    "commit": "",
    "device": "cpu",
    "threads": 1,
    "features": "f",
    "features_sha256": "0" * 64,
    "code": "",
    "peak_memory_mb": 1.0,
    "peak_gpu_memory_mb": 0.0,
}
METHODS: dict[str, Method] = {"stages": Stages(), "means": Means(), "zero_shot": ZeroShot()}
PLAN = grid.plan(
    datasets=["shapes", "things"],
    backbones=["tiny"],
    shots=["1", "5"],
    seeds=3,
    also=["val_full", "report"],
    peeking_gap=True,
    calibrates=True,
    methods=[{"label": label, "variants": ["-"], "learns": label != "zero_shot"} for label in METHODS],
)


def compute(folder: Path, plan: Plan, images: Mapping[str, Features], calibrate: Mapping[str, Any]) -> None:
    """Every cell of the plan on these features by dataset: records and predictions, as the job of a cell has them."""
    for dataset, backbone, label, shots in plan.cells():
        seeds = 1 if shots == "0" else plan.seeds
        at = Cell(
            plan.study, dataset, backbone, label, label, shots, seeds, plan.report, plan.select, PLAIN,
            also=plan.also, calibrate=calibrate,
        )  # fmt: skip
        bench = Bench(at, images[dataset], "cpu", 1, lambda line: None)
        found = cells.evaluate(bench, METHODS[label])
        record = records.record(bench, found, SECONDS, ORIGIN)
        records.check(record, label)
        files.write_json(plan.path(folder, dataset, backbone, label, shots), record)
        path = plan.path(folder, dataset, backbone, label, shots, "predictions")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **predictions.arrays(bench, found))


def finished(folder: Path) -> Path:
    """The results folder of the study above."""
    images = {dataset: make_features(noise=1.5, seed=seed) for seed, dataset in enumerate(PLAN.datasets)}
    compute(folder, PLAN, images, {"held_out": "val", "error": 0.3})
    with pytest.MonkeyPatch.context() as patch:
        for job in (tables, recommend, recommendations):
            patch.setattr(sys, "argv", ["job", "--plan", json.dumps(asdict(PLAN)), "--folder", str(folder)])
            job.main()
    return folder
