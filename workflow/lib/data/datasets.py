"""Datasets: the sources that there are, and the preparation of one. Light to import: the Snakefile does it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from methods.contract.params import brief
from workflow.lib.data import contents, names, registry
from workflow.lib.data.index import SPLITS, Entry, Index, check, read_index, write_index
from workflow.lib.data.sources.base import Option, Source
from workflow.lib.errors import UserError

__all__ = [
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

READING = ("skip_bad_images", "max_pixels", "max_aspect")  # how images are read
# What a dataset may say whatever its source; of these the names of classes alone touch the index.
COMMON = (
    "source",
    "templates",
    "classnames",
    "supports",
    "allow_fewer",
    "views",
    "flip",
    "shards",
    "array_gb",
    *READING,
)


def resolve(spec: Mapping[str, Any], known: registry.Sources | None = None) -> tuple[Source, dict[str, Any]]:
    """The source that a dataset's `spec` (as in the study file) names, and all its options with defaults filled in.

    `known` are the sources that there are; without it, those that need no plugin's path. Raises `UserError`, with the
    key and what is allowed, for anything that the source does not know.
    """
    source = _source(spec.get("source"), registry.load() if known is None else known)
    given = {key: value for key, value in spec.items() if key not in COMMON}
    for key in given:
        if key not in source.options:
            raise UserError(f"{key}: not an option of source {source.name}{_nearest(key, source.options)}")
    return source, {key: _value(key, given, option) for key, option in source.options.items()}


def _source(name: object, known: registry.Sources) -> Source:
    if str(name) in known.entries:
        return known.entries[str(name)].thing
    if reason := known.why(str(name)):
        raise UserError(f"source: the plugin {name!r} can't be used: {reason}")
    raise UserError(f"source: {name!r} is unknown{_nearest(name, known.entries)}")


def _value(key: str, given: Mapping[str, Any], option: Option) -> Any:
    if key not in given:
        if option.required:
            raise UserError(f"{key}: is wanted: {option.help}")
        return option.default
    value = given[key]
    if not option.fits(value):
        raise UserError(f"{key}: found {brief(value)}, allowed: {option.kinds()}: {option.help}")
    if option.allowed and value not in option.allowed:
        raise UserError(f"{key}: {value!r} is none of {', '.join(map(str, option.allowed))}")
    if option.check is not None:
        _checked(key, value, option.check)
    return value


def _checked(key: str, value: Any, check: Callable[[Any], object]) -> None:
    try:
        check(value)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


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
    given = {key: spec[key] for key in (*READING, "array_gb") if key in spec}
    if given and source.prepare is None:
        raise UserError(f"{next(iter(given))}: there are no images to read; allowed: leaving it away")
    return given


def _nearest(word: object, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (known: {', '.join(known) or 'none'})"


def prepare(spec: Mapping[str, Any], root: Path, threads: int, plugins: Sequence[str] = ()) -> Index:
    """Put the dataset of `spec` into the folder `root`, or find it elsewhere; returns its index, not yet written.

    Of images that are the user's own it has a hash over their bytes, which are noted in `root`. `plugins` are paths of
    files with further sources.
    """
    source, options = resolve(spec, registry.load(plugins))
    if source.prepare is None:
        raise UserError(f"source {source.name} has no images to prepare")
    root.mkdir(parents=True, exist_ok=True)
    found = source.prepare(root, options, threads)
    if source.look is not None:
        check(found, str(found.root))
        seen = look(spec, plugins)
        hashes = contents.note(root, contents.state(found), threads, seen.fingerprint() if seen else "")
        found = replace(found, contents=contents.overall(found, hashes))
    named = names.apply(found, spec.get("classnames"), source.named_by_folders)
    for line in names.remarks(found.classnames, named, spec.get("classnames")):
        log.info("%s", line)
    return named


def look(spec: Mapping[str, Any], plugins: Sequence[str] = ()) -> Index | None:
    """The index of images that are the user's own, by a look at their folder; `None` where there are none.

    Raises `UserError` for every fault of the folder and of the class names that is seen without opening an image.
    """
    source, options = resolve(spec, registry.load(plugins))
    if source.look is None:
        return None
    found = source.look(options)
    check(found, f"path: {found.root}")
    given = spec.get("classnames")
    return found if given == names.WORDNET else names.apply(found, given, source.named_by_folders)
