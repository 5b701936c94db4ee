"""List what the recommended row of a dataset confuses, image by image, and which labels of the support look wrong."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from methods.contract.base import Labels
from methods.contract.shots import ALL
from workflow.lib import files
from workflow.lib.evaluation import label_errors, support_files
from workflow.lib.features import store
from workflow.lib.features.store import Features
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import confusion_files, confusions, options, recommendation_files, saved
from workflow.lib.reporting.confusion_files import Subject
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.tables import name, shots_heading


def main() -> None:
    arguments = _arguments()
    plan, ((dataset, backbone),) = arguments.plan, arguments.plan.pairs()
    features = store.read(arguments.features)
    into, title = arguments.folder / "tables" / f"{dataset}.{backbone}", f"{dataset}, {backbone}"
    advice = recommendation_files.read(arguments.folder, dataset, backbone)["lines"][-1]
    for suffix, text in _confusions(plan, arguments.folder, advice, features, title).items():
        files.write_text(into.with_name(f"{into.name}.confusions.{suffix}"), text)
    for suffix, text in _label_errors(plan, arguments.supports, features, title).items():
        files.write_text(into.with_name(f"{into.name}.label_errors.{suffix}"), text)


def _confusions(
    plan: Plan, folder: Path, advice: Mapping[str, str], features: Features, title: str
) -> Mapping[str, str]:
    row, shots, dataset = (advice["method"], advice["variant"]), advice["shots"], advice["dataset"]
    labels = "all labels" if shots == ALL else shots_heading(shots)
    said = f"{name(row)} with {labels}, the recommended row, on {plan.reported(dataset)}" if row[0] else ""
    images = features.files.get("train" if dataset in plan.folds else plan.report)
    pairs, seeds = [], 0
    if said:
        found = saved.read(plan.path(folder, dataset, advice["backbone"], row[0], shots, "predictions"))
        pairs, seeds = confusions.confusions(found, row[1]), len(found.predicted[row[1]])
    subject = Subject(title, said, seeds, images)
    return {
        "md": confusion_files.confusions_md(subject, pairs),
        "csv": confusion_files.confusions_csv(subject, pairs),
    }


def _label_errors(plan: Plan, supports: str, features: Features, title: str) -> Mapping[str, str]:
    train, rows = features.splits["train"], _labelled(plan, supports, features)
    found = label_errors.suspects(train.x, rows, train.y[rows], len(features.classnames))
    images = confusions.named(features.files.get("train"), rows[found.places])
    return {
        "md": confusion_files.label_errors_md(title, found, images, features.classnames),
        "csv": confusion_files.label_errors_csv(found, images, features.classnames),
    }


def _labelled(plan: Plan, supports: str, features: Features) -> Labels:
    """The images of train that some seed's support has with the most shots; all where they are cross-validated."""
    if plan.datasets[0] in plan.folds:
        return np.arange(len(features.splits["train"].y))
    if not any(method["learns"] for method in plan.methods):
        return np.arange(0)  # no support was drawn
    shots = max(plan.shots, key=lambda shots: float("inf") if shots == ALL else int(shots))
    seeds = range(1 if shots == ALL else plan.seeds)
    drawn = [support_files.support(features, shots, seed, supports, allow_fewer=True) for seed in seeds]
    return np.unique(np.concatenate(drawn))


def _arguments() -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument("--features", required=True, type=Path, help="features file of the dataset")
    parser.add_argument("--supports", default="", help="where supports are read from, if they are not drawn")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
