"""Label images by a shipped classifier: files, folders, patterns or lists of them in, a CSV of labels out."""

from __future__ import annotations

import argparse
import csv
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.jobs import devices, entry, logs
from workflow.lib.shipping import classifier as classifiers
from workflow.lib.shipping import inputs

log = logging.getLogger("workflow.scripts.predict")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.predict", description=__doc__)
    parser.add_argument("shipped", type=Path, help="folder that `snakemake ship` made, or its classifier.safetensors")
    parser.add_argument("images", nargs="*", help="images, folders, patterns such as 'new/*.jpg', or .txt lists")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write, a line for each image")
    parser.add_argument("--all", action="store_true", help="add a column for each class's probability")
    parser.add_argument(
        "--sets", choices=("marginal", "per_class"), default="marginal", help="on average, or in each class"
    )
    parser.add_argument("--html", type=Path, help="write a contact sheet, the least sure images first")
    parser.add_argument(
        "--labels", help="a folder with a folder for each class, or a CSV with file and label: how right it is"
    )
    parser.add_argument(
        "--weights", default="", help="the backbone's weights, if they don't lie where the study had them"
    )
    parser.add_argument("--batch-size", type=int, default=0, help="images in one forward pass")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args()


def main() -> None:
    """Read, predict, write."""
    arguments = parse_arguments()
    logs.start()
    classifier = classifiers.read(arguments.shipped)
    labels = _labels(arguments, classifier.classes)
    if not arguments.images and not labels:
        raise UserError("no images: name files, folders, patterns or .txt lists of them")
    paths = inputs.images(arguments.images) if arguments.images else list(labels)
    device = devices.choose(arguments.device, 1, log.info)
    from workflow.lib.shipping import answered, predicting, truth  # torch: nobody waits for it to hear of a mistake

    record = truth.Record(labels, classifier.classes)
    sheet = answered.Sheet(classifier.classes) if arguments.html else None
    problems = 0
    with files.atomic(arguments.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = answered.Table(file, classifier.classes, arguments.all)
        backbone = predicting.load(classifier, arguments.weights, device)
        began = time.monotonic()
        for answer in predicting.answers(
            classifier, backbone, paths, arguments.threads, arguments.batch_size, arguments.sets == "per_class"
        ):
            table.add(answer)
            record.add(answer)
            problems += bool(answer.problem)
            if sheet is not None:
                sheet.add(answer)
    rate = len(paths) / (time.monotonic() - began)
    log.info("wrote %s: %d images, %.1f a second; not readable: %d", arguments.out, len(paths), rate, problems)
    if sheet is not None:
        with files.atomic(arguments.html) as temporary, temporary.open("w", encoding="utf-8") as file:
            sheet.write(file)
        log.info("wrote %s", arguments.html)
    if labels:
        print("\n".join(record.report(classifier.about["thresholds"])))
        _write_rows(arguments.out.with_suffix(".confusion.csv"), record.confusion())


def _labels(arguments: argparse.Namespace, classes: list[str]) -> dict[Path, int]:
    if not arguments.labels:
        return {}
    from workflow.lib.shipping import truth

    return truth.read(arguments.labels, classes)


def _write_rows(path: Path, rows: Iterable[list[str]]) -> None:
    with files.atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    log.info("wrote %s", path)


if __name__ == "__main__":
    entry.run(main)
