"""Make the features of one dataset under one backbone, or an array beside them: from images, all or a shard of them, or
from features made elsewhere."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from methods.contract import needs
from workflow.lib import files
from workflow.lib.data import index
from workflow.lib.data.index import Index
from workflow.lib.encoding import shards
from workflow.lib.encoding.shards import Part, Shard
from workflow.lib.errors import UserError
from workflow.lib.features import arrays, npz, npz_arrays, store, took
from workflow.lib.features.store import Features
from workflow.lib.jobs import devices, entry, logs

FEATURES = "features"
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
    parser.add_argument("--skip-bad-images", action="store_true", help="go on without images that can't be read")
    parser.add_argument("--max-pixels", type=int, help="pixels of the largest image that is read")
    parser.add_argument("--max-aspect", type=int, help="how many times as long as wide an image may be")
    parser.add_argument(
        "--make", default=FEATURES, help=f"{FEATURES} (default), or the array beside them: {needs.PATTERN}"
    )
    parser.add_argument("--array-gb", type=float, help="what an array of images may take on disk")
    parser.add_argument("--shard", type=int, default=1, help="which shard this job is, from 1 (default: 1)")
    parser.add_argument("--shards", type=int, default=1, help="in how many shards images are taken (default: 1)")
    parser.add_argument("--gathered", type=Path, help="the features, gathered from shards: they only get their name")
    parser.add_argument("--out", required=True, type=Path, help="the features file to write")
    parser.add_argument("--threads", type=int, default=1, help="threads that decode, and on a CPU encode (default: 1)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--jobs-per-gpu", type=int, default=1, help="jobs that may share a GPU (default: 1)")
    return parser.parse_args()


def main() -> None:
    """Read or extract, then write."""
    arguments = parse_arguments()
    logs.start()
    if arguments.gathered is not None:
        rename(arguments.gathered, arguments.out)
    elif "features" in arguments.spec:
        write(arguments.out, from_elsewhere(arguments))
    else:
        from_images(arguments)


def rename(gathered: Path, out: Path) -> None:
    """Give a file a second name, or a copy where the file system knows no second names."""
    with files.atomic(out) as temporary:
        temporary.unlink()
        try:
            os.link(gathered, temporary)
        except OSError:
            shutil.copyfile(gathered, temporary)
    took.follow(gathered, out)


def write(out: Path, made: Features | arrays.Array) -> None:
    """Write the features, or an array beside them, and say what they are."""
    if isinstance(made, arrays.Array):
        arrays.write(out, made)
        rows = ", ".join(f"{name} {part.shape}" for name, part in made.splits.items())
        log.info("wrote %s: %s", out, rows or f"no {made.name}: {made.absent}")
        return
    store.write(out, made)
    sizes = ", ".join(f"{name} {len(split.y)}" for name, split in made.splits.items())
    views = "" if made.train_views is None else f"; views of each train image: {made.train_views.shape[1]}"
    log.info("wrote %s: %d classes; images: %s%s%s", out, len(made.classnames), sizes, views, left_out(made))


def left_out(made: Features) -> str:
    """How many images are missing, if any are."""
    missing = made.metadata.get("left_out")
    return f"; left out: {len(missing)}" if missing else ""


def from_elsewhere(arguments: argparse.Namespace) -> Features | arrays.Array:
    """The features in the file that the spec names for this dataset, or the array that is asked for."""
    path = arguments.spec["features"].replace("{dataset}", arguments.dataset)
    log.info("reading %s", path)
    given = {key: arguments.spec[key] for key in ("logit_scale", "allow_zeros") if key in arguments.spec}
    found = npz.read_npz(path, **given)
    metadata = {
        **found.metadata,
        "dataset": arguments.dataset,
        "backbone": arguments.backbone,
        "spec": arguments.spec,
        "weights_sha256": files.sha256(path),
    }
    if arguments.make != FEATURES:
        return replace(npz_arrays.read(path, arguments.make, found), metadata=metadata)
    return replace(found, metadata=metadata)


def from_images(arguments: argparse.Namespace) -> None:
    """Write the features of the images in the index, by the model that the spec names, or one shard of them."""
    if arguments.index is None:
        raise UserError(f"dataset {arguments.dataset} has no images: its backbones are given")
    found, shard = index.read_index(arguments.index), Shard(arguments.shard, arguments.shards)
    began = time.perf_counter()
    part = extract(arguments, found, shard)
    part = replace(part, seconds=time.perf_counter() - began)
    if part.metadata is not None:
        # Which list of images these are of, and by which names the model knows the classes.
        listed = {"index": found.fingerprint()} | ({"names": found.prompt_names()} if found.names else {})
        part = replace(part, metadata=part.metadata | listed)
    if shard.count == 1:
        write(arguments.out, (shards.gather_array if part.array else shards.gather)(found, [part]))
        shards.say_how_long(arguments.out, found, [part])
    else:
        shards.write(arguments.out, part)
        log.info("wrote %s: %s, %d images", arguments.out, shard, 0 if part.x is None else len(part.x))


def extract(arguments: argparse.Namespace, found: Index, shard: Shard) -> Part:
    """What the model makes of the shard's images."""
    device = devices.choose(arguments.device, arguments.jobs_per_gpu, log.info)
    # torch and open_clip take seconds to import: nobody waits for them to hear that there is no index.
    from workflow.lib.encoding import extraction
    from workflow.lib.encoding.images import Limits, Reader

    given = {"pixels": arguments.max_pixels, "aspect": arguments.max_aspect}
    limits = Limits(**{key: value for key, value in given.items() if value is not None})
    return extraction.extract(
        found,
        arguments.spec,
        arguments.templates,
        names={"dataset": arguments.dataset, "backbone": arguments.backbone},
        threads=arguments.threads,
        device=device,
        views=arguments.views if arguments.make in (FEATURES, "pre") else 0,  # of the others there are none
        flip=not arguments.no_flip,
        shard=shard,
        reader=Reader(limits, skip=arguments.skip_bad_images),
        array="" if arguments.make == FEATURES else arguments.make,
        most_gb=extraction.ARRAY_GB if arguments.array_gb is None else arguments.array_gb,
    )


if __name__ == "__main__":
    entry.run(main)
