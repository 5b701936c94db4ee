"""Imports a plugin's file. The file may import what lies beside it, at once or later inside a function.

Each plugin has a package of its own, made up for it, in which its siblings lie: two plugins may each have a
`helpers.py`. What Python itself and installed packages call theirs is no sibling, so that nothing is hidden by a file
in somebody's folder; what merely lies in the current folder or on the PYTHONPATH comes after the siblings.
"""

import builtins
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "_plugin_"
PROJECT = ("methods", "workflow")
INSTALLED = ("site-packages", "dist-packages")


def import_file(path: Path) -> ModuleType:
    """The module of a .py file, run anew with its siblings. Raises what the file raises, FileNotFoundError without."""
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix != ".py":
        raise ImportError(f"not a Python file: {path}")
    package = _made_up_package(path)
    name = f"{package}.{path.stem.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, os.path.abspath(path)))
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    return module


def _made_up_package(path: Path) -> str:
    """The name of a new package for a plugin: its modules are what lies beside the file, or beside what it links to."""
    package = PREFIX + hashlib.sha256(os.path.abspath(path).encode()).hexdigest()[:16]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    if _Siblings not in sys.meta_path:
        sys.meta_path.insert(0, _Siblings)
    importlib.invalidate_caches()  # the files may have been written a moment ago
    sys.modules[package] = ModuleType(package, f"What lies beside {path}.")
    sys.modules[package].__path__ = [str(path.resolve().parent)]
    return package


def sibling(folder: Path, top: str) -> bool:
    """Whether `import top` in a plugin of this folder means a file or a folder beside it."""
    if top in PROJECT or installed(top):
        return False
    if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        return True
    return (folder / top).is_dir() and importlib.util.find_spec(top) is None  # as for Python, a bare folder comes last


@cache
def installed(top: str) -> bool:
    """Whether a module of this name belongs to Python or to an installed package."""
    if top in sys.stdlib_module_names:
        return True
    spec = PathFinder.find_spec(top)
    return spec is not None and any(part in INSTALLED for place in places(spec) for part in Path(place).parts)


def places(spec: ModuleSpec) -> Sequence[str]:
    """The file of a module, or the folders of a package without one."""
    return [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])


class _Siblings:
    """Finds the modules of the made-up packages, and has them import as their plugin does."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder` has it; None for every other module."""
        if not name.startswith(PREFIX):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Gives a module an `__import__` that looks beside its plugin: it serves imports inside functions, too."""

    def exec_module(self, module: ModuleType) -> None:
        package = sys.modules[module.__name__.partition(".")[0]]
        own = {"__import__": partial(_import, package.__name__, Path(package.__path__[0]))}
        module.__dict__["__builtins__"] = vars(builtins) | own
        super().exec_module(module)


def _import(
    package: str,
    folder: Path,
    name: str,
    globals: Mapping[str, Any] | None = None,
    locals: Mapping[str, Any] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """`builtins.__import__` of a plugin: what lies beside it is imported from its own package."""
    top = name.partition(".")[0]
    if level or not sibling(folder, top):
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    inner = f"{package}.{name}"
    importlib.import_module(inner)
    if not fromlist:
        return sys.modules[f"{package}.{top}"]
    return builtins.__import__(inner, globals, locals, fromlist, 0)
