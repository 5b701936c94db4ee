"""Compute one cell: read the features, fit and score every variant with every seed, write metrics and predictions."""

import argparse
import faulthandler
import json
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from workflow.lib.errors import say
from workflow.lib.jobs import clock as clocks


def main() -> None:
    arguments = _arguments()
    faulthandler.enable()  # a plugin may take the process with it: the log then says where
    _pin_threads(arguments.threads)

    from methods.tools import registry
    from workflow.lib import errors
    from workflow.lib.evaluation import records
    from workflow.lib.evaluation.bench import Cell
    from workflow.lib.jobs import memory, passed

    cell = Cell(**json.loads(arguments.spec))
    known = registry.load(arguments.plugin)
    entry = known.methods.get(cell.method)
    if entry is None:
        raise errors.UserError(f"no method '{cell.method}' {known.why(cell.method)}".strip())
    try:
        record, arrays = _evaluate(arguments, cell, entry.method())
    except errors.UserError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's code: its author needs the traceback and the place
        traceback.print_exc()
        if memory.is_out_of_memory(error):
            raise errors.UserError(f"{_place(cell)}: out of memory: {memory.REMEDY}") from None
        text = errors.one_line(" ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))
        raise errors.UserError(f"method '{cell.label}' ({entry.where}, {entry.file}) failed: {text}") from None
    key = passed.key(cell.method, entry.file, entry.where)
    record["provenance"]["check"] = {
        "key": key,
        "passed": passed.has(key),
        "command": passed.command(cell.method, entry.where),
    }
    records.check(record, arguments.metrics)
    _write(arguments, record, arrays)


def _evaluate(arguments: argparse.Namespace, cell: Any, method: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    from workflow.lib.jobs import devices, time_limit

    asked = arguments.device if method.gpu else "cpu"
    began = time.perf_counter()
    gpu = devices.reserve(asked, arguments.jobs_per_gpu, _log)
    # The wait for a GPU is no time of the cell's, neither in its record nor for its limit.
    waited = time.perf_counter() - began
    with time_limit.at_most(60 * arguments.minutes, _too_long(cell, arguments.minutes)):
        return _compute(arguments, cell, method, devices.use(gpu, asked, _log), waited)


def _too_long(cell: Any, minutes: float) -> str:
    return (
        f"{_place(cell)}: stopped after {minutes:g} minutes; if it needs longer, raise 'cell_minutes' in the study file"
    )


def _place(cell: Any) -> str:
    return f"{cell.dataset}, {cell.backbone}: {cell.label}, shots {cell.shots}"


def _compute(
    arguments: argparse.Namespace, cell: Any, method: Any, device: str, waited: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    from workflow.lib.evaluation import cell as cells
    from workflow.lib.evaluation import engines, predictions, records
    from workflow.lib.evaluation.bench import Bench
    from workflow.lib.features import arrays as beside
    from workflow.lib.features import origin, store

    needs = cells.needed(method, cell.variants)
    for name in engines.imports(type(method), needs):
        import_module(name)
    clock = {"start": clocks.alive() - waited}
    began = time.perf_counter()
    read = store.read(arguments.features, cell.stored())
    origin.check(read.metadata, cell.made_of, arguments.features)
    for path in arguments.array:
        read = beside.added(read, beside.read(path), path)
    backbone = cell.made_of.get("backbone", {})
    encoder, model = engines.towers(needs, backbone, read.classnames, read.metadata, device)
    bench = Bench(cell, read, device, arguments.threads, _log, encoder=encoder, model=model)
    clock["read"] = time.perf_counter() - began
    began = time.perf_counter()
    made_of = json.dumps([arguments.spec, read.sha256, arguments.code, device, arguments.threads])
    checkpoint = Path(arguments.metrics).with_suffix(".checkpoint")
    with cells.resumable(checkpoint, made_of, _log, arguments.checkpoint_seconds) as before:
        results = cells.evaluate(bench, method)
    clock["fit"] = sum(outcome.seconds for result in results for outcome in result.outcomes.values())
    arrays = predictions.arrays(bench, results)
    clock["score"] = time.perf_counter() - began - clock["fit"] + before
    clock["total"] = clocks.alive() - waited + before
    provenance = records.provenance(
        device, arguments.threads, arguments.features, read.sha256, arguments.code, read.metadata
    )
    trainings = sum(len(result.outcomes) for result in results)
    _log(f"done: {trainings} trainings in {clock['fit']:.1f} s, {clock['total']:.1f} s in all")
    return records.record(bench, results, clock, provenance), arrays


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


def _log(line: str) -> None:
    say(line, sys.stdout)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", required=True, help="the cell as JSON")
    parser.add_argument("--features", required=True, help="features file to read")
    parser.add_argument("--array", action="append", default=[], help="an array beside them that the method needs")
    parser.add_argument("--metrics", required=True, help="JSON to write")
    parser.add_argument("--predictions", required=True, help="npz to write")
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=300,
        help="between two checkpoints of a training, beside the metrics (default: 300)",
    )
    parser.add_argument("--code", default="", help="hash of the code behind the cell, for its provenance")
    parser.add_argument("--plugin", action="append", default=[], help="a .py file with further methods")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU (default: 1)")
    parser.add_argument("--minutes", type=float, default=0, help="limit on the time of the cell (default: none)")
    return parser.parse_args()


if __name__ == "__main__":
    from workflow.lib.jobs.entry import run

    run(main)
