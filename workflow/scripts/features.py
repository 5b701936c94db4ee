"""Make the features file of one dataset under one backbone: from images, or from features made elsewhere."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

from workflow.lib import devices, errors, features, features_npz, files, index, logs
from workflow.lib.errors import UserError
from workflow.lib.features import Features

log = logging.getLogger("workflow.scripts.features")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.features", description=__doc__)
    parser.add_argument("--dataset", required=True, help="name of the dataset in the study")
    parser.add_argument("--index", type=Path, help="index of its images")
    parser.add_argument("--templates", type=json.loads, default=[], help='JSON: prompts such as ["a photo of a {}."]')
    parser.add_argument("--backbone", required=True, help="name of the backbone in the study")
    parser.add_argument("--spec", required=True, type=json.loads, help="JSON: the backbone as in the study")
    parser.add_argument("--views", type=int, default=0, help="augmented views of each train image (default: 0)")
    parser.add_argument("--no-flip", action="store_true", help="no view is mirrored")
    parser.add_argument("--out", required=True, type=Path, help="the features file to write")
    parser.add_argument("--threads", type=int, default=1, help="threads that decode, and on a CPU encode (default: 1)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU (default: 1)")
    return parser.parse_args()


def main() -> None:
    """Read or extract, then write."""
    arguments = parse_arguments()
    logs.start()
    made = from_elsewhere(arguments) if "features" in arguments.spec else from_images(arguments)
    features.write(arguments.out, made)
    sizes = ", ".join(f"{name} {len(split.y)}" for name, split in made.splits.items())
    views = "" if made.train_views is None else f"; views of each train image: {made.train_views.shape[1]}"
    log.info("wrote %s: %d classes; images: %s%s", arguments.out, len(made.classnames), sizes, views)


def from_elsewhere(arguments: argparse.Namespace) -> Features:
    """The features in the file that the spec names for this dataset."""
    path = arguments.spec["features"].replace("{dataset}", arguments.dataset)
    log.info("reading %s", path)
    found = features_npz.read_npz(path)
    metadata = {
        "dataset": arguments.dataset,
        "backbone": arguments.backbone,
        "spec": arguments.spec,
        "weights_sha256": files.sha256(path),
    }
    return replace(found, metadata=metadata)


def from_images(arguments: argparse.Namespace) -> Features:
    """The features of the images in the index, by the model that the spec names."""
    if arguments.index is None:
        raise UserError(f"dataset {arguments.dataset} has no images: its backbones are given as features")
    found = index.read_index(arguments.index)

    device = devices.choose(arguments.device, arguments.jobs_per_gpu, log.info)
    # torch and open_clip take seconds to import: nobody waits for them to hear that there is no index.
    from workflow.lib import extraction

    return extraction.extract(
        found,
        arguments.spec,
        arguments.templates,
        names={"dataset": arguments.dataset, "backbone": arguments.backbone},
        threads=arguments.threads,
        device=device,
        views=arguments.views,
        flip=not arguments.no_flip,
    )


if __name__ == "__main__":
    errors.run(main)
