"""Finds plugins: modules of a package of ours, installed packages with an entry point, files named in the study.

What can't be loaded is recorded with its reason and harms nobody else: only asking for it fails.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import pluggy

from methods.contract import hookspecs
from workflow.lib.jobs.passed import BUILT_IN
from workflow.lib.jobs.plugin_files import import_file

NAME = "[a-z0-9_]+"
T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """Something that can be used: the thing, where it comes from, and its source file."""

    thing: T
    where: str
    file: str


@dataclass(frozen=True)
class Broken:
    """A plugin that can't be used, and why."""

    name: str
    where: str
    reason: str


@dataclass
class Found(Generic[T]):
    """All things of a kind by name, and the plugins that failed."""

    entries: dict[str, Entry[T]] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def why(self, name: str) -> str:
        """The reason for which `name` is missing, or an empty text where no plugin of that name failed."""
        return why(self.broken, name)


def why(broken: Iterable[Broken], name: str) -> str:
    """The reason for which `name` is missing, or an empty text where no plugin of that name failed."""
    return next((f"{plugin.where}: {plugin.reason}" for plugin in broken if plugin.name == name), "")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of plugin: `what` it is called, the hook that it implements, and where the built-in ones lie.

    A thing has a `name`, by which studies know it. `check(thing)` raises where it is nothing of the kind.
    """

    what: str
    hook: str
    package: str
    folder: Path
    check: Callable[[Any], None]

    @property
    def group(self) -> str:
        """The entry points of installed packages."""
        return f"{hookspecs.PROJECT}.{self.what}s"

    def load(self, paths: Sequence[str] = ()) -> Found[T]:
        """The built-in things, those of installed packages, and those of the .py files in `paths`."""
        found: Found[T] = Found()
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        for name, where, module in chain(self._built_in(), self._installed()):
            self._add(found, manager, name, where, module)
        for path in paths:
            self._add(found, manager, Path(path).stem, path, Path(path))
        return found

    def _built_in(self) -> Iterator[tuple[str, str, str]]:
        for info in sorted(pkgutil.iter_modules([str(self.folder)]), key=lambda info: info.name):
            if not info.ispkg and info.name != "__main__":
                yield info.name, BUILT_IN, f"{self.package}.{info.name}"

    def _installed(self) -> Iterator[tuple[str, str, str]]:
        for entry in entry_points(group=self.group):
            yield entry.name, f"package {entry.dist.name}" if entry.dist else "package", entry.value.split(":")[0]

    def _add(self, found: Found[T], manager: pluggy.PluginManager, name: str, where: str, source: str | Path) -> None:
        """Import one plugin and take what it declares; whatever goes wrong is recorded."""
        try:
            module = importlib.import_module(source) if isinstance(source, str) else import_file(source)
            manager.register(module, f"{where}:{name}")
            manager.check_pending()
            things = self._declared(manager, module)
            for thing in things:
                self._check(found, thing)
            found.entries |= {thing.name: Entry(thing, where, str(module.__file__)) for thing in things}
        except (Exception, SystemExit) as error:  # a plugin is somebody else's code: anything can come out of it
            if manager.has_plugin(f"{where}:{name}"):
                manager.unregister(name=f"{where}:{name}")
            found.broken.append(Broken(name, where, _reason(error)))

    def _declared(self, manager: pluggy.PluginManager, module: ModuleType) -> list[Any]:
        """What the plugin's own hook returns."""
        callers = manager.subset_hook_caller(self.hook, [p for p in manager.get_plugins() if p is not module])
        lists: Iterable[Any] = callers()
        return [thing for group in lists for thing in group]

    def _check(self, found: Found[T], thing: Any) -> None:
        """Refuse what would fail later: nothing of the kind, no usable name, a name taken."""
        self.check(thing)
        name = getattr(thing, "name", "")
        if not (isinstance(name, str) and re.fullmatch(NAME, name)):
            raise ValueError(f"{getattr(thing, '__name__', self.what)}.name must match {NAME}, found {name!r}")
        if name in found.entries:
            raise ValueError(f"the name '{name}' is taken by {found.entries[name].where}")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
