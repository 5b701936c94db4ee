"""What a source of images is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.lib.data.index import Index

Prepare = Callable[[Path, Mapping[str, Any], int], Index]
Look = Callable[[Mapping[str, Any]], Index]


@dataclass(frozen=True)
class Option:
    """One key of a dataset in the study file. `default` is what it has when it is not given and not `required`.

    `type` is the type of its value, or several. `check(value)` raises `UserError` for a value of that type that makes
    no sense; what it says follows the key.
    """

    type: type | tuple[type, ...]
    help: str
    default: Any = None
    allowed: tuple[Any, ...] = ()
    required: bool = False
    check: Callable[[Any], object] | None = None

    def kinds(self) -> str:
        """Its types in words."""
        types = self.type if isinstance(self.type, tuple) else (self.type,)
        return " or ".join(_WORDS.get(one, one.__name__) for one in types)

    def fits(self, value: Any) -> bool:
        """Whether `value` is of its type: to `isinstance`, true and false are whole numbers."""
        return type(value) in (self.type if isinstance(self.type, tuple) else (self.type,))

    def describe(self) -> str:
        """What may be given: `text, default 'variant', one of …`."""
        parts = [
            self.kinds(),
            "required" if self.required else "" if self.default is None else f"default {self.default}",
        ]
        parts.append(f"one of {', '.join(map(str, self.allowed))}" if self.allowed else "")
        return "; ".join(filter(None, parts))


_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", dict: "mapping", list: "list"}


@dataclass(frozen=True)
class Source:
    """A way to get images with labels.

    `prepare(root, options, threads)` puts the images into the folder `root`, or finds them elsewhere, and returns their
    index; `options` has every key of `Source.options`. It is `None` for a source without images. `templates` are the
    default prompts. `flip` is whether an image may be mirrored and still be of its class.

    `look(options)`, where images are the user's own and may change, returns the index without reading an image: it is
    called whenever a study is read, so that it takes seconds for a million files at most, and every fault of the folder
    is found before anything starts. `named_by_folders` is whether class names are folders' names, with underscores for
    spaces.
    """

    name: str
    help: str
    templates: tuple[str, ...]
    prepare: Prepare | None
    options: Mapping[str, Option] = field(default_factory=dict)
    flip: bool = True
    look: Look | None = None
    named_by_folders: bool = False
