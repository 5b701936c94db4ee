"""Images of one's own: `train/`, `val/` and `test/` with a folder of images for each class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow.lib.errors import UserError
from workflow.lib.data.index import SPLITS, Entry, Index
from workflow.lib.data.sources.base import Option, Source


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """The images where they lie, as torchvision's `ImageFolder` reads them. Nothing is copied into `root`.

    The classes are the folders in `train/`, in alphabetical order; `val/` and `test/` may be missing. Raises
    `UserError` for a missing folder and for classes that `train/` lacks.
    """
    home = Path(os.path.expanduser(options["path"]))
    if not (home / "train").is_dir():
        raise UserError(f"folder: path: no folder {home / 'train'}; it holds a folder of images for each class")
    names = _classes(home / "train")
    splits = {split: _entries(home, split, names) for split in SPLITS if (home / split).is_dir()}
    return Index(names, home, splits)


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))


def _entries(home: Path, split: str, names: tuple[str, ...]) -> list[Entry]:
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    unknown = [name for name in _classes(home / split) if name not in names]
    if unknown:
        raise UserError(f"folder: {home / split / unknown[0]} is of a class that {home / 'train'} does not have")
    labels = {name: label for label, name in enumerate(names)}
    if not labels:
        return []
    found = make_dataset(home / split, labels, IMG_EXTENSIONS, allow_empty=True)
    return [(Path(path).relative_to(home).as_posix(), label) for path, label in found]


SOURCE = Source(
    name="folder",
    help="images of your own, in train/ val/ test/ with a folder for each class",
    templates=("a photo of a {}.",),
    prepare=prepare,
    options={"path": Option(str, "the folder that holds train/, val/ and test/", required=True)},
)
