"""The methods that there are: modules of the package `methods`, installed packages, files named in the study."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methods.contract.base import Method
from methods.contract.params import Param
from workflow.lib import plugins
from workflow.lib.plugins import NAME, Broken

__all__ = ["GROUP", "NAME", "Broken", "Entry", "Registry", "load"]


@dataclass(frozen=True)
class Entry:
    """A method that can be used: its class, where it comes from, and its source file."""

    method: type[Method]
    where: str
    file: str


@dataclass
class Registry:
    """All methods by name, and the plugins that failed."""

    methods: dict[str, Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def why(self, name: str) -> str:
        """The reason for which `name` is missing, or an empty text where no plugin of that name failed."""
        return plugins.why(self.broken, name)


def _check(method: Any) -> None:
    """Refuse what would fail later: not a Method, parameters that are no Param."""
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise TypeError(f"register_methods must return subclasses of Method, found {method!r}")
    wrong = [key for key, param in method.params.items() if not isinstance(param, Param)]
    if wrong:
        raise TypeError(f"{method.__name__}.params['{wrong[0]}'] must be a Param")


_KIND: plugins.Kind[type[Method]] = plugins.Kind(
    "method", "register_methods", package="methods", folder=Path(__file__).parents[1], check=_check
)
GROUP = _KIND.group


def load(paths: Sequence[str] = ()) -> Registry:
    """The built-in methods, those of installed packages, and those of the .py files in `paths`."""
    found = _KIND.load(paths)
    methods = {name: Entry(one.thing, one.where, one.file) for name, one in found.entries.items()}
    return Registry(methods, found.broken)
