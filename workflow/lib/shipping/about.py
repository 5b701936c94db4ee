"""What a shipped classifier says of itself: everything that a user of it, or a reader of its numbers, must know."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.evaluation import records
from workflow.lib.evaluation.calibrator import Settings
from workflow.lib.features.store import Features
from workflow.lib.shipping.classifier import Classifier
from workflow.lib.shipping.fitting import FALSE_ALARMS, Fitted, Row, images_per_class


def classifier(
    row: Row,
    fitted: Fitted,
    features: Features,
    settings: Settings,
    everything: bool,
    expected: Sequence[Mapping[str, Any]],
    provenance: Mapping[str, Any],
) -> Classifier:
    """The classifier as it is written; `expected` are rows of what the study measured of it."""
    counts = images_per_class(fitted.support, len(features.classnames))
    about = {
        "classes": list(features.classnames),
        "prompts": prompts(features),
        "backbone": backbone(features),
        "preprocessing": json.loads(features.metadata["preprocess"]),
        "method": {
            "label": row.label,
            "name": row.method,
            "params": dict(fitted.params),
            "point": dict(fitted.point),
            "chosen_by": fitted.chosen_by,
        },
        "temperature": 1.0 if fitted.calibrator is None else float(fitted.calibrator.temperature),
        "thresholds": thresholds(fitted, settings),
        "expected": [dict(one) for one in expected],
        "trained_on": {
            "splits": list(features.files) if everything else ["train"],
            "images": int(counts.sum()),
            "per_class": counts.tolist(),
        },
        "provenance": {
            "study": row.study,
            "dataset": row.dataset,
            "backbone": row.backbone,
            "features_sha256": features.sha256,
            "commit": records.commit(),
            **provenance,
        },
    }
    return Classifier(fitted.program, fitted.outlier, about)


def prompts(features: Features) -> list[list[str]]:
    """The texts that stand for each class."""
    templates = features.metadata.get("templates", [])
    names = features.metadata.get("names") or [[name] for name in features.classnames]
    return [[template.replace("{}", name) for name in own for template in templates] for own in names]


def backbone(features: Features) -> dict[str, Any]:
    """The model by name, with its config where that is a file, and the SHA-256 of its weights.

    Raises `UserError` where the features were made elsewhere: no model is known for new images.
    """
    told = features.metadata
    spec = dict(told.get("spec", {}))
    if "model" not in spec:
        raise UserError(
            "ship: these features were made elsewhere, so no model is known that new images could go through"
        )
    config = Path(spec["model"]) if spec["model"].endswith(".json") else None
    return {
        "spec": spec,
        "model": config.stem if config else spec["model"],
        "config": files.read_json(config) if config else None,
        "pretrained": spec.get("pretrained", ""),
        "weights": Path(spec["weights"]).name if "weights" in spec else spec.get("pretrained", ""),
        "fingerprint": told["weights_sha256"],
        "quick_gelu": "QuickGELU" in told.get("activation", ""),
        "precision": told.get("precision", "fp32"),
        "logit_scale": features.logit_scale,
        "dim": int(features.splits["train"].x.shape[1]),
    }


def thresholds(fitted: Fitted, settings: Settings) -> dict[str, Any]:
    """All thresholds, null for infinity; `images` were held out to find them, 0 where none could be."""
    found = fitted.calibrator
    return {
        "images": 0 if found is None else int(found.counts.sum()),
        "level": settings.level,
        "set": None if found is None else _number(found.marginal[0]),
        "sets_per_class": None if found is None else [_number(one) for one in found.mondrian],
        "error": settings.error,
        "unsure": None if found is None else _number(found.unsure),
        "false_alarms": FALSE_ALARMS,
        "outlier": _number(fitted.distance),
    }


def _number(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None
