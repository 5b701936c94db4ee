"""Prepare a dataset: its images on disk and their index."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from workflow.lib.data import datasets, walk
from workflow.lib.jobs import entry, logs

log = logging.getLogger("workflow.scripts.dataset")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.dataset", description=__doc__)
    parser.add_argument("--name", required=True, help="name of the dataset in the study")
    parser.add_argument("--spec", required=True, type=json.loads, help="JSON: the source and its options")
    parser.add_argument("--root", required=True, type=Path, help="folder for the images")
    parser.add_argument("--plugin", action="append", default=[], help="a .py file with further sources")
    parser.add_argument("--out", required=True, type=Path, help="the index to write")
    parser.add_argument("--threads", type=int, default=1, help="processes that may draw at once (default: 1)")
    return parser.parse_args()


def main() -> None:
    """Prepare, check, write."""
    arguments = parse_arguments()
    logs.start()
    log.info("preparing %s (source %s)", arguments.name, arguments.spec.get("source"))
    index = datasets.prepare(arguments.spec, arguments.root, arguments.threads, arguments.plugin)
    datasets.write_index(arguments.out, index)
    sizes = ", ".join(f"{split} {len(entries)}" for split, entries in index.splits.items())
    log.info("%s: %d classes; images: %s", arguments.name, len(index.classnames), sizes)
    if index.left_out:
        log.info("%s: left out: %s", arguments.name, walk.summary(index.left_out))


if __name__ == "__main__":
    entry.run(main)
