"""Fit the row of a study that is to be used on every label there is, and write it down as a folder to take away."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from workflow.lib.jobs import devices, entry, logs

log = logging.getLogger("workflow.scripts.ship")


def main() -> None:
    """Read the features, fit, write; the classifier last."""
    arguments = parse_arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    logs.start()
    from methods.tools import registry
    from workflow.lib.errors import UserError
    from workflow.lib.evaluation import cell as cells
    from workflow.lib.evaluation import engines
    from workflow.lib.evaluation.calibrator import Settings
    from workflow.lib.features import arrays, origin, store
    from workflow.lib.shipping import about, choosing, fitting, folder

    asked: Mapping[str, Any] = json.loads(arguments.spec)
    chosen = choosing.row(asked, arguments.results)
    known = registry.load(arguments.plugin)
    if chosen.row.method not in known.methods:
        raise UserError(f"no method '{chosen.row.method}' {known.why(chosen.row.method)}".strip())
    method = known.methods[chosen.row.method].method()
    device = devices.choose(arguments.device if method.gpu else "cpu", arguments.jobs_per_gpu, log.info)
    needs = cells.needed(method, chosen.row.variants)
    for name in engines.imports(type(method), needs):
        import_module(name)
    read = store.read(arguments.features)
    origin.check(read.metadata, asked["made_of"], arguments.features)
    for path in arguments.array:
        beside = arrays.read(path)
        read = arrays.added(read, beside, path) if beside.name in needs else read
    everything = asked["labels"] == "everything"
    settings = Settings(asked["level"], asked["error"])
    about.backbone(read)  # before hours of a fit
    towers = engines.towers(needs, asked["made_of"]["backbone"], read.classnames, read.metadata, device)
    learned_from = fitting.labelled(read, everything)
    made = fitting.fit(chosen.row, method, learned_from, settings, device, arguments.threads, log.info, *towers)
    code = {"code": arguments.code}
    classifier = about.classifier(chosen.row, made, read, settings, everything, chosen.expected, code)
    folder.write(arguments.out, classifier, asked["onnx"])
    log.info("wrote %s: %s", arguments.out, chosen.row.label)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.ship", description=__doc__)
    parser.add_argument("--spec", required=True, help="what is shipped, as JSON")
    parser.add_argument("--features", required=True, help="features file to read")
    parser.add_argument("--array", action="append", default=[], help="an array beside them that a method may need")
    parser.add_argument(
        "--results", required=True, type=Path, help="the study's tables: recommendation.csv, results.csv"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--code", default="", help="hash of the code behind it")
    parser.add_argument("--plugin", action="append", default=[], help="a .py file with further methods")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    entry.run(main)
