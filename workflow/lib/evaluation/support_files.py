"""Supports written out and read in, so that others can use the same images.

Two forms are read. Ours, one file for all shots and seeds:
`{"dataset": …, "seeds": {"0": {"<class>": [image, …]}}}`; n shots are the first n of each list. And published ones, one
file for each number of shots and seed, `shot_{shots}-seed_{seed}.json`:
`{"train": [[image, label, "<class>"], …], "val": […]}`. An image is its file name in the index, or its row where the
features came from elsewhere. `all` shots are all of train whatever a file says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from methods.contract.base import Labels
from methods.contract.params import brief
from methods.contract.shots import ALL
from workflow.lib import files
from workflow.lib.errors import UserError, describe
from workflow.lib.evaluation import supports
from workflow.lib.features.store import Features

Image = str | int


def write(path: Path, dataset: str, features: Features, shots: Sequence[str], seeds: int) -> None:
    """Write what each seed draws, in order, as far as the largest number of shots goes."""
    most = str(max((int(number) for number in shots if number != ALL), default=0))
    images = _images(features)
    labels, names = features.splits["train"].y, features.classnames
    drawn: dict[str, dict[str, list[Image]]] = {}
    for seed in range(seeds):
        rows = supports.draw(labels, names, most, seed, allow_fewer=True)
        drawn[str(seed)] = {name: [images[row] for row in rows if labels[row] == k] for k, name in enumerate(names)}
    files.write_json(path, {"dataset": dataset, "seeds": drawn})


def support(
    features: Features,
    shots: str,
    seed: int,
    pattern: str = "",
    allow_fewer: bool = False,
    without: Labels | None = None,
) -> Labels:
    """Rows of a seed's support in train: read, where a pattern of files is given, or drawn."""
    if pattern:
        return read(pattern, features, shots, seed)
    labels = features.splits["train"].y
    return supports.draw(labels, features.classnames, shots, seed, allow_fewer=allow_fewer, without=without)


def read(pattern: str, features: Features, shots: str, seed: int) -> Labels:
    """Rows of the support in train. Raises UserError that names the file, and the class or image that is wrong."""
    if shots == ALL:
        return supports.draw(features.splits["train"].y, features.classnames, shots, seed)
    path = pattern.replace("{shots}", shots).replace("{seed}", str(seed))
    content = _load(path)
    chosen = _published(content, path, features) if "train" in content else _ours(content, path, seed)
    return _rows(chosen, path, features, int(shots))


def _load(path: str) -> Mapping[str, Any]:
    try:
        content = files.read_json(path)
    except (OSError, UserError) as error:
        raise UserError(f"{path}: no supports can be read from it: {describe(error)}") from error
    if not isinstance(content, dict) or not {"train", "seeds"} & content.keys():
        raise UserError(f"{path}: not a file of supports; allowed: a mapping with `seeds` or `train`")
    return content


def _ours(content: Mapping[str, Any], path: str, seed: int) -> Mapping[str, Sequence[Image]]:
    seeds = content["seeds"]
    if not isinstance(seeds, dict) or str(seed) not in seeds or not isinstance(seeds[str(seed)], dict):
        there = ", ".join(seeds) if isinstance(seeds, dict) else "no mapping of seeds"
        raise UserError(f"{path}: no supports of seed {seed}; it has {there}")
    return seeds[str(seed)]


def _published(content: Mapping[str, Any], path: str, features: Features) -> Mapping[str, Sequence[Image]]:
    """Lists of [image, label, class name], sorted into classes by label."""
    chosen: dict[str, list[Image]] = {name: [] for name in features.classnames}
    listed = content["train"]
    for item in listed if isinstance(listed, list) else [listed]:
        label = item[1] if isinstance(item, list) and len(item) > 1 else None
        if type(label) is not int or not 0 <= label < len(features.classnames):
            last = len(features.classnames) - 1
            allowed = f"[image, label, class name] with a label from 0 to {last}"
            raise UserError(f"{path}: train: found {brief(item)}, allowed: {allowed}")
        chosen[features.classnames[label]].append(item[0])
    return chosen


def _rows(chosen: Mapping[str, Sequence[Image]], path: str, features: Features, shots: int) -> Labels:
    images = {image: row for row, image in enumerate(_images(features))}
    labels, rows = features.splits["train"].y, []
    for k, name in enumerate(features.classnames):
        listed = chosen.get(name, [])
        if not isinstance(listed, list):
            raise UserError(f"{path}: class '{name}': found {brief(listed)}, allowed: a list of images")
        if len(listed) < shots:
            raise UserError(f"{path}: class '{name}' has {len(listed)} images, {shots} are asked for")
        for i, image in enumerate(listed[:shots]):
            if type(image) not in (str, int) or image not in images or labels[images[image]] != k:
                raise UserError(f"{path}: class '{name}': {brief(image)} is no image of it in train")
            if image in listed[:i]:
                raise UserError(f"{path}: class '{name}': {brief(image)} stands there twice")
            rows.append(images[image])
    return np.array(rows, dtype=np.int64)


def _images(features: Features) -> Sequence[Image]:
    """The names of the train images, or their rows where there are none."""
    named: Sequence[Image] | None = features.files.get("train")
    return named if named is not None else range(len(features.splits["train"].y))
