"""Images that are the user's own, looked at when the study is read: every fault of a folder is found before anything
starts, and what has changed there runs again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from workflow.lib.data import contents, datasets, layout
from workflow.lib.data.index import SPLITS
from workflow.lib.errors import UserError, describe, shortened
from workflow.lib.study import schema
from workflow.lib.study.study import Study

INDEX = "index.json"


def look(
    study: Study, config: Mapping[str, Any], files: Sequence[str | Path], elsewhere: str = "--config"
) -> dict[str, str]:
    """For each dataset with images of the user's own, what stands for them in the parameters of jobs.

    What is in no file comes from `elsewhere`. Raises `UserError` whose line begins with the file, the line number and
    the keys, for a fault of the folder, and for a split that the study needs and it lacks.
    """
    found: dict[str, str] = {}
    models = [name for name, spec in study.backbones.items() if "features" not in spec]
    for name, entry in study.datasets.items() if models else ():  # features made elsewhere need no image
        try:
            token = _token(study, entry, Path(study.folders["data"]) / name)
        except (UserError, OSError) as error:
            raise _located(error, name, partial(schema.place, config, files, elsewhere=elsewhere), config) from None
        if token:
            found[name] = token
    return found


def known(study: Study) -> dict[str, str]:
    """The same as the indexes say, without a look at any image: for the jobs of a run, which read the study too."""
    tokens = {name: contents.known_token(Path(study.folders["data"]) / name) for name in study.datasets}
    return {name: token for name, token in tokens.items() if token}


def _token(study: Study, entry: Mapping[str, Any], folder: Path) -> str:
    if _is_gone(entry) and (folder / INDEX).exists():
        return contents.known_token(folder)  # features may outlive their images
    index = datasets.look(entry, study.plugins)
    if index is None:
        return ""
    wanted = {} if index.folds else _wanted(study)
    missing = [split for split in SPLITS if split in wanted and split not in index.splits]
    if missing:
        hint = layout.nearest(index.root, missing[0])
        if not hint and list(index.splits) == ["train"]:
            hint = "; `split: {test: 0.5}` makes one, and `cross_validate: 5` does without"
        there, why = ", ".join(index.splits), wanted[missing[0]]
        raise UserError(f"path: {index.root} has no {missing[0]}/, {why}; it has {there}{hint}")
    return contents.token(folder, index)


def _is_gone(entry: Mapping[str, Any]) -> bool:
    paths = entry.get("path", [])
    each = [paths] if isinstance(paths, str) else paths.values() if isinstance(paths, dict) else []
    return any(not Path(path).expanduser().exists() for path in each)


def _wanted(study: Study) -> dict[str, str]:
    """The splits that the study needs, and why."""
    chosen = [regime for regime in (study.select, *study.also) if regime.startswith("val_")]
    on_val = {"val": f"on which protocol.select, {chosen[0]}, chooses"} if chosen else {}
    if study.calibrate.get("held_out") == "val":
        on_val = {"val": "which calibrates (calibrate.held_out)"} | on_val
    return on_val | {study.report: "which the study reports (protocol.report)"}


def _located(
    error: UserError | OSError, name: str, place: Callable[[Sequence[schema.Key]], str], config: Mapping[str, Any]
) -> UserError:
    """The error at the key of the dataset's entry with which its text begins, if it is one."""
    text = describe(error)
    key, _, rest = text.partition(": ")
    inside = key in config["datasets"][name]
    keys, message = (["datasets", name, key], rest) if inside else (["datasets", name], text)
    return UserError(shortened(f"{place(keys)}: {schema.dotted(keys)}: {message}"))
