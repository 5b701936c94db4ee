"""The hooks that a plugin can implement. This file is the manual: a signature and a sentence each."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from methods.contract.base import Method

PROJECT = "clip_adapter_bench"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_methods() -> "Iterable[type[Method]]":  # type: ignore[empty-body]  # a specification has no body
    """Return the methods that this plugin adds."""


@hookspec
def register_sources() -> "Iterable[Any]":  # type: ignore[empty-body]  # a specification has no body
    """Return the sources of images that this plugin adds, each a `workflow.lib.data.Source`."""
