"""Compute one cell: read the features, fit and score every variant with every seed, write metrics and predictions."""

import os
import time

START = time.time()

import argparse  # noqa: E402  # the clock starts before the imports that it is to measure
import json  # noqa: E402
import traceback  # noqa: E402
from importlib import import_module  # noqa: E402
from typing import Any  # noqa: E402


def main() -> None:
    arguments = _arguments()
    _pin_threads(arguments.threads)

    from methods import registry
    from workflow.lib import errors, records
    from workflow.lib.cell import Cell

    cell = Cell(**json.loads(arguments.spec))
    known = registry.load(arguments.plugin)
    entry = known.methods.get(cell.method)
    if entry is None:
        raise errors.UserError(f"no method '{cell.method}' {known.why(cell.method)}".strip())
    try:
        record, arrays = _evaluate(arguments, cell, entry.method())
    except errors.UserError:
        raise
    except Exception as error:  # a plugin is somebody else's code: its author needs the traceback and the place
        traceback.print_exc()
        text = errors.one_line(" ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))
        raise errors.UserError(f"method '{cell.label}' ({entry.where}, {entry.file}) failed: {text}") from None
    records.check(record, arguments.metrics)
    _write(arguments, record, arrays)


def _evaluate(arguments: argparse.Namespace, cell: Any, method: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from workflow.lib import cell as cells
    from workflow.lib import devices, features, records

    device = devices.choose(method.gpu, arguments.device)
    for name in method.imports:
        import_module(name)
    clock = {"start": time.time() - _process_start()}
    began = time.perf_counter()
    read = features.read(arguments.features, cell.splits())
    bench = cells.Bench(cell, read, device, arguments.threads, _log)
    clock["read"] = time.perf_counter() - began
    began = time.perf_counter()
    results = cells.evaluate(bench, method)
    clock["fit"] = sum(outcome.fit_seconds for result in results for outcome in result.outcomes.values())
    arrays = cells.predictions(bench, results)
    clock["score"] = time.perf_counter() - began - clock["fit"]
    clock["total"] = time.time() - _process_start()
    origin = records.provenance(device, arguments.threads, arguments.features, read.sha256, arguments.code)
    trainings = sum(len(result.outcomes) for result in results)
    _log(f"done: {trainings} trainings in {clock['fit']:.1f} s, {clock['total']:.1f} s in all")
    return records.record(bench, results, clock, origin), arrays


def _write(arguments: argparse.Namespace, record: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Predictions first: where the metrics are, the predictions are."""
    import numpy as np

    from workflow.lib import files

    with files.atomic(arguments.predictions) as path:
        np.savez_compressed(path, **arrays)
    files.write_json(arguments.metrics, record)


def _pin_threads(threads: int) -> None:
    """Before NumPy or torch start their pools: many cells run side by side, and each has its own share."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)


def _process_start() -> float:
    """When this process was started, by the system's account: the interpreter's own start counts too."""
    import psutil

    return min(psutil.Process().create_time(), START)


def _log(line: str) -> None:
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the cell as JSON")
    parser.add_argument("--features", required=True, help="features file to read")
    parser.add_argument("--metrics", required=True, help="JSON to write")
    parser.add_argument("--predictions", required=True, help="npz to write")
    parser.add_argument("--code", default="", help="hash of the code behind the cell, for its provenance")
    parser.add_argument("--plugin", action="append", default=[], help="a .py file with further methods")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    from workflow.lib.errors import run

    run(main)
