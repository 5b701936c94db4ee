"""A cell's JSON: made, checked against workflow/schemas/metrics.schema.yaml, written, read."""

import json
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from workflow.lib import files
from workflow.lib.errors import UserError, one_line
from workflow.lib.evaluation.bench import Bench
from workflow.lib.evaluation.cell import Result, metrics
from workflow.lib.evaluation.protocol import Outcome
from workflow.lib.features.store import Features

SCHEMAS = Path(__file__).parents[2] / "schemas"
KINDS = {"metrics": "a cell's metrics", "plan": "what tables were made from"}
FORMAT = 1
LIBRARIES = {"numpy": "numpy", "torch": "torch", "numba": "numba", "sklearn": "scikit-learn", "scipy": "scipy"}

Record = Mapping[str, Any]
_PEAK_UNIT = 2**20 if sys.platform == "darwin" else 2**10  # of the system's account, in parts of a MB


def record(bench: Bench, results: Sequence[Result], seconds: Mapping[str, float], origin: Record) -> dict[str, Any]:
    """The record of a cell; `origin` is its provenance (see `provenance`)."""
    cell = bench.cell
    return {
        "format": FORMAT,
        "study": cell.study,
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "method": cell.label,
        "plugin": cell.method,
        "shots": cell.shots,
        "protocol": {
            "report": cell.report,
            "select": cell.select,
            "also": list(cell.also),
            "metric": cell.metric,
        },
        "classes": len(bench.features.classnames),
        "queries": len(bench.labels),
        "support": len(bench.rows[0]),
        "variants": [_variant(bench, result) for result in results],
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "provenance": dict(origin) | _prompts(bench.features),
    }


def _prompts(features: Features) -> dict[str, Any]:
    """The templates, and what they make of the first class; nothing where the text is from elsewhere."""
    templates, names = features.metadata.get("templates"), features.metadata.get("names")
    if not templates:
        return {}
    first = names[0] if names else features.classnames[:1]
    texts = [template.replace("{}", name) for name in first for template in templates]
    return {"prompts": {"templates": list(templates), "first": texts}}


def _variant(bench: Bench, result: Result) -> dict[str, Any]:
    return {
        "variant": result.variant,
        "params": dict(result.params),
        "status": "n/a" if result.reason else "ok",
        "reason": result.reason,
        "trainable_parameters": result.trainable,
        **({} if result.size is None else {"classifier_bytes": result.size}),
        "seeds": [
            {
                "seed": seed,
                **_choice(bench, outcome, bench.cell.select),
                "also": {regime: _choice(bench, outcome, regime) for regime in bench.cell.also},
                "curve": outcome.curve if len(outcome.curve) > 1 else [],
                "curve_at": _places(outcome) if len(outcome.curve) > 1 else [],
                "notes": sorted(set(outcome.notes)),
            }
            for seed, outcome in result.outcomes.items()
        ],
    }


def _places(outcome: Outcome) -> list[float]:
    """The epoch, step or iteration of each point of the curve; nothing where the candidates are points of a grid."""
    if any(len(point) != 1 or not point.keys() <= {"epoch", "step", "iteration"} for point in outcome.points):
        return []
    return [value for point in outcome.points for value in point.values()]


def _choice(bench: Bench, outcome: Outcome, regime: str) -> dict[str, Any]:
    """What a regime has chosen, and how it did."""
    trust = outcome.choices[regime].trust
    found = {"metrics": metrics(bench, outcome, regime), "point": dict(outcome.choices[regime].point)}
    return found | ({"calibration": trust.described()} if trust else {})


def provenance(
    device: str, threads: int, features: str, sha256: str, code: str, made_of: Record | None = None
) -> dict[str, Any]:
    """What a result came from: versions of what was imported, commit, device, hashes, peak memory of this process.

    `made_of` is the metadata of the features.
    """
    torch = sys.modules.get("torch")
    gpu = device.startswith("cuda") and torch is not None
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(package) for name, package in LIBRARIES.items() if name in sys.modules},
        "commit": commit(),
        "device": torch.cuda.get_device_name() if gpu and torch else f"cpu ({platform.machine()})",
        "threads": threads,
        "features": features,
        "features_sha256": sha256,
        "extraction": _extraction(made_of or {}),
        "code": code,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PEAK_UNIT, 1),
        "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1) if gpu and torch else 0.0,
    }


def _extraction(metadata: Record) -> dict[str, Any]:
    """How images became the features, as far as their metadata say it, and how many are missing or empty."""
    told = {key: metadata[key] for key in ("weights_sha256", "activation", "recipe") if key in metadata}
    if "preprocess" in metadata:
        told["preprocess"] = json.loads(metadata["preprocess"])
    counts = {"left_out": len(metadata.get("left_out", ())), "zeros": sum(map(len, metadata.get("zeros", {}).values()))}
    return told | {key: count for key, count in counts.items() if count}


def commit() -> str:
    """The commit of the checkout, with `+` when tracked files differ from it; empty outside a repository."""
    command = [
        "git",
        "-C",
        str(SCHEMAS),
        "describe",
        "--always",
        "--abbrev=12",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def check(value: Any, where: str, kind: str = "metrics") -> None:
    """Raise UserError unless `value` is a record, or the plan of a study.

    One line with the file, the place in it and what is wrong there.
    """
    problem = next(iter(_validator(kind).iter_errors(value)), None)
    if problem is not None:
        place = ".".join(map(str, problem.absolute_path)) or "top level"
        raise UserError(f"{where}: not {KINDS[kind]}: {place}: {one_line(problem.message)[:200]}")


def read(path: str | Path) -> dict[str, Any]:
    """Read and check a record. Raises UserError that names the file."""
    try:
        value = files.read_json(path)
    except UserError as error:
        raise UserError(f"{error}; delete it, and the next run makes it anew") from error
    check(value, str(path))
    return value


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    schema = SCHEMAS / f"{kind}.schema.yaml"
    return jsonschema.Draft202012Validator(yaml.safe_load(schema.read_text(encoding="utf-8")))
