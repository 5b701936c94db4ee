"""Datasets: the sources that there are, and the preparation of one. Light to import: the Snakefile does it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow.lib.errors import UserError
from workflow.lib.data import contents, names
from workflow.lib.data.index import SPLITS, Entry, Index, check, read_index, write_index
from workflow.lib.data.sources import digits, features, fgvc_aircraft, folder, planes
from workflow.lib.data.sources.base import Option, Source

__all__ = [
    "SOURCES",
    "SPLITS",
    "Entry",
    "Index",
    "Option",
    "Source",
    "look",
    "prepare",
    "read_index",
    "reading",
    "resolve",
    "shards",
    "views",
    "write_index",
]

log = logging.getLogger(__name__)

SOURCES: Mapping[str, Source] = {
    module.SOURCE.name: module.SOURCE for module in (digits, planes, fgvc_aircraft, folder, features)
}
READING = ("skip_bad_images", "max_pixels", "max_aspect")  # how images are read
# What a data set may say whatever its source; of these the names of classes alone touch the index.
COMMON = ("source", "templates", "classnames", "supports", "allow_fewer", "views", "flip", "shards", *READING)


def resolve(spec: Mapping[str, Any]) -> tuple[Source, dict[str, Any]]:
    """The source that a dataset's `spec` (as in the study file) names, and all its options with defaults filled in.

    Raises `UserError`, with the key and what is allowed, for anything that the source does not know.
    """
    source = SOURCES.get(str(spec.get("source")))
    if source is None:
        raise UserError(f"source: {spec.get('source')!r} is unknown{_nearest(spec.get('source'), SOURCES)}")
    given = {key: value for key, value in spec.items() if key not in COMMON}
    for key in given:
        if key not in source.options:
            raise UserError(f"{key}: not an option of source {source.name}{_nearest(key, source.options)}")
    return source, {key: _value(key, given, option) for key, option in source.options.items()}


def _value(key: str, given: Mapping[str, Any], option: Option) -> Any:
    if key not in given:
        if option.required:
            raise UserError(f"{key}: is wanted: {option.help}")
        return option.default
    value = given[key]
    if type(value) is not option.type:  # bool is a kind of int to isinstance
        raise UserError(f"{key}: {value!r} is no {option.type.__name__}: {option.help}")
    if option.allowed and value not in option.allowed:
        raise UserError(f"{key}: {value!r} is none of {', '.join(map(str, option.allowed))}")
    return value


def views(spec: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """How many `views` of each train image are wanted, and whether to `flip` some of them; empty where none are.

    Raises `UserError`, with the key, where there are no images to make views of.
    """
    if "views" not in spec:
        return {}
    if source.prepare is None:
        raise UserError("views: there are no images to augment; allowed: train_views (N, V, D) in the npz file")
    return {"views": spec["views"], "flip": spec.get("flip", source.flip)}


def shards(spec: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """In how many `shards` the images are to be taken; empty where it isn't said.

    Raises `UserError`, with the key, where there are no images.
    """
    if "shards" not in spec:
        return {}
    if source.prepare is None:
        raise UserError("shards: there are no images to share out; allowed: leaving it away")
    return {"shards": spec["shards"]}


def reading(spec: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """What the spec says of images that can't be read, or are larger or longer than others.

    Raises `UserError`, with the key, where there are no images.
    """
    given = {key: spec[key] for key in READING if key in spec}
    if given and source.prepare is None:
        raise UserError(f"{next(iter(given))}: there are no images to read; allowed: leaving it away")
    return given


def _nearest(word: object, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"


def prepare(spec: Mapping[str, Any], root: Path, threads: int) -> Index:
    """Put the dataset of `spec` into the folder `root`, or find it elsewhere; returns its index, not yet written.

    Of images that are the user's own it has a hash over their bytes, which are noted in `root`.
    """
    source, options = resolve(spec)
    if source.prepare is None:
        raise UserError(f"source {source.name} has no images to prepare")
    root.mkdir(parents=True, exist_ok=True)
    found = source.prepare(root, options, threads)
    if source.look is not None:
        check(found, str(found.root))
        seen = look(spec)
        hashes = contents.note(root, contents.state(found), threads, seen.fingerprint() if seen else "")
        found = replace(found, contents=contents.overall(found, hashes))
    named = names.apply(found, spec.get("classnames"), source.named_by_folders)
    for line in names.remarks(found.classnames, named, spec.get("classnames")):
        log.info("%s", line)
    return named


def look(spec: Mapping[str, Any]) -> Index | None:
    """The index of images that are the user's own, by a look at their folder; `None` where there are none.

    Raises `UserError` for every fault of the folder and of the class names that is seen without opening an image.
    """
    source, options = resolve(spec)
    if source.look is None:
        return None
    found = source.look(options)
    check(found, f"path: {found.root}")
    given = spec.get("classnames")
    return found if given == names.WORDNET else names.apply(found, given, source.named_by_folders)
