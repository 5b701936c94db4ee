"""FGVC-Aircraft (Maji et al., arXiv 1306.5151): 10 000 photographs, 100 variants in 70 families of 30 manufacturers."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from methods.contract.hookspecs import hookimpl
from workflow.lib.data.index import SPLITS, Entry, Index
from workflow.lib.data.sources.base import Option, Source
from workflow.lib.data.sources.download import archive_of, obtain
from workflow.lib.errors import UserError

log = logging.getLogger(__name__)

FOLDER = "fgvc-aircraft-2013b"
_CLASS_LISTS = {"variant": "variants.txt", "family": "families.txt", "manufacturer": "manufacturers.txt"}
_INSTEAD = f"give the dataset `root:` with the folder that holds {FOLDER}/data/images and the lists beside it"


class IncompleteError(UserError):
    """The dataset is not there, or a part of it is missing."""


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """The official splits, downloaded into `root` unless option `root` names a folder that has them.

    Raises `UserError` where the data can't be obtained, or a folder of the user's own lacks a file.
    """
    from torchvision.datasets import FGVCAircraft

    home = Path(os.path.expanduser(options["root"])) if options["root"] else root
    if options["root"] and not home.is_dir():
        raise UserError(f"fgvc_aircraft: root: no folder {home}")
    home.mkdir(parents=True, exist_ok=True)
    try:
        return read_layout(home, options["annotation_level"])
    except IncompleteError as error:
        # Without our archive beside it a folder is the user's own, and not ours to repair.
        if _find(home) and not archive_of(FGVCAircraft._URL, home).is_file():
            raise
        log.info("%s", error)
    obtain(FGVCAircraft._URL, home, _INSTEAD)
    return read_layout(home, options["annotation_level"])


def _find(home: Path) -> Path | None:
    """The folder with the lists: `home` holds the dataset's folder, or is that folder, or is its `data`."""
    candidates = (home / FOLDER / "data", home / "data", home)
    return next((folder for folder in candidates if (folder / "images").is_dir()), None)


def read_layout(home: Path, level: str) -> Index:
    """The index of a dataset in the official layout. Raises `IncompleteError` where a list or an image is missing."""
    data = _find(home)
    if data is None:
        raise IncompleteError(f"fgvc_aircraft: no {FOLDER}/data/images in {home}")
    names = tuple(_lines(data / _CLASS_LISTS[level]))
    splits = {split: _read_split(data / f"images_{level}_{split}.txt", names) for split in SPLITS}
    _check_images(data, splits)
    return Index(names, data, splits)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise IncompleteError(f"fgvc_aircraft: {path} is missing")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _read_split(path: Path, names: tuple[str, ...]) -> list[Entry]:
    """Lines such as `1025794 707-320`: an image and its class."""
    labels = {name: label for label, name in enumerate(names)}
    entries = []
    for line in _lines(path):
        image, _, name = line.partition(" ")
        if name not in labels:
            raise IncompleteError(f"fgvc_aircraft: {path}: {line!r} does not end in a known class")
        entries.append((f"images/{image}.jpg", labels[name]))
    return entries


def _check_images(data: Path, splits: Mapping[str, list[Entry]]) -> None:
    listed = [file for entries in splits.values() for file, _ in entries]
    there = {f"images/{path.name}" for path in (data / "images").iterdir()}
    missing = [file for file in listed if file not in there]
    if missing:
        raise IncompleteError(
            f"fgvc_aircraft: {len(missing)} of {len(listed)} images are missing, the first is {data / missing[0]}"
        )


SOURCE = Source(
    name="fgvc_aircraft",
    help="FGVC-Aircraft in its official splits: downloaded, or read from a folder",
    templates=("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    prepare=prepare,
    options={
        "annotation_level": Option(
            str, "what the classes are", default="variant", allowed=("variant", "family", "manufacturer")
        ),
        "root": Option(str, f"a folder that holds {FOLDER}, or is to hold it; under data/ by default"),
    },
)


@hookimpl
def register_sources() -> list[Source]:
    return [SOURCE]
