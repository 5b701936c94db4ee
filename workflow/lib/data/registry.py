"""The sources that there are: modules of `sources/`, installed packages, files named in the study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from workflow.lib import plugins
from workflow.lib.data.sources.base import Option, Source

Sources: TypeAlias = plugins.Found[Source]


def _check(source: Any) -> None:
    """Refuse what would fail later: not a Source, options that are no Option or that every dataset has."""
    if not isinstance(source, Source):
        raise TypeError(f"register_sources must return instances of Source, found {source!r}")
    if wrong := [key for key, option in source.options.items() if not isinstance(option, Option)]:
        raise TypeError(f"source {source.name}: options['{wrong[0]}'] must be an Option")
    if source.prepare is not None and not any("{}" in template for template in source.templates):
        raise ValueError(f"source {source.name}: templates must have a text with {{}} in it")


_KIND: plugins.Kind[Source] = plugins.Kind(
    "source",
    "register_sources",
    package="workflow.lib.data.sources",
    folder=Path(__file__).parent / "sources",
    check=_check,
)
GROUP = _KIND.group


def load(paths: Sequence[str] = ()) -> Sources:
    """The built-in sources, those of installed packages, and those of the .py files in `paths`."""
    return _KIND.load(paths)
