"""Finds the methods: modules of this package, installed packages with an entry point, files named in the study.

A plugin that can't be loaded is recorded with its reason and harms nobody else: only asking for its method fails.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from methods.contract import hookspecs
from methods.contract.base import Method
from methods.contract.params import Param
from workflow.lib.jobs.plugin_files import import_file

GROUP = f"{hookspecs.PROJECT}.methods"
NAME = "[a-z0-9_]+"


@dataclass(frozen=True)
class Entry:
    """A method that can be used: its class, where it comes from, and its source file."""

    method: type[Method]
    where: str
    file: str


@dataclass(frozen=True)
class Broken:
    """A plugin that can't be used, and why."""

    name: str
    where: str
    reason: str


@dataclass
class Registry:
    """All methods by name, and the plugins that failed."""

    methods: dict[str, Entry] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def why(self, name: str) -> str:
        """The reason for which `name` is missing, or an empty text where no plugin of that name failed."""
        return next((f"{plugin.where}: {plugin.reason}" for plugin in self.broken if plugin.name == name), "")


def load(paths: Sequence[str] = ()) -> Registry:
    """The built-in methods, those of installed packages, and those of the .py files in `paths`."""
    registry = Registry()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for info in sorted(pkgutil.iter_modules([str(Path(__file__).parents[1])]), key=lambda info: info.name):
        if not info.ispkg and info.name != "__main__":
            _add(registry, manager, info.name, "built-in", f"methods.{info.name}")
    for entry in entry_points(group=GROUP):
        where = f"package {entry.dist.name}" if entry.dist else "package"
        _add(registry, manager, entry.name, where, entry.value.split(":")[0])
    for path in paths:
        _add(registry, manager, Path(path).stem, path, Path(path))
    return registry


def _add(registry: Registry, manager: pluggy.PluginManager, name: str, where: str, source: str | Path) -> None:
    """Import one plugin and take its methods; whatever goes wrong is recorded."""
    try:
        module = importlib.import_module(source) if isinstance(source, str) else import_file(source)
        manager.register(module, f"{where}:{name}")
        manager.check_pending()
        found = _declared(manager, module)
        for method in found:
            _check(registry, method)
        registry.methods |= {method.name: Entry(method, where, str(module.__file__)) for method in found}
    except (Exception, SystemExit) as error:  # a plugin is somebody else's code: anything can come out of it
        if manager.has_plugin(f"{where}:{name}"):
            manager.unregister(name=f"{where}:{name}")
        registry.broken.append(Broken(name, where, _reason(error)))


def _declared(manager: pluggy.PluginManager, module: ModuleType) -> list[type[Method]]:
    """What the plugin's own hook returns."""
    callers = manager.subset_hook_caller("register_methods", [p for p in manager.get_plugins() if p is not module])
    lists: Iterable[Any] = callers()
    return [method for group in lists for method in group]


def _check(registry: Registry, method: Any) -> None:
    """Refuse what would fail later: not a Method, no usable name, parameters that are no Param, a name taken."""
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise TypeError(f"register_methods must return subclasses of Method, found {method!r}")
    name = getattr(method, "name", "")
    if not (isinstance(name, str) and name and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")):
        raise ValueError(f"{method.__name__}.name must match {NAME}, found {name!r}")
    if name in registry.methods:
        raise ValueError(f"the name '{name}' is taken by {registry.methods[name].where}")
    wrong = [key for key, param in method.params.items() if not isinstance(param, Param)]
    if wrong:
        raise TypeError(f"{method.__name__}.params['{wrong[0]}'] must be a Param")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
