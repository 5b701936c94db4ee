"""What a result depends on in code: a hash over a module and what it imports, of this project and of its own author.

Snakemake reruns what has this hash as a parameter when, and only when, the code behind it has changed. Comments and
formatting don't count: the syntax tree is hashed, not the text. Installed libraries don't count either.
"""

import hashlib
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from workflow.lib.jobs import plugin_files, syntax

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = plugin_files.PROJECT
GROUPS = "clip_adapter_bench"  # whose entry points are plugins
# Imported by the scripts that make datasets and features: how a message is worded, a file is written, a GPU is leased.
DECIDES_NO_FEATURE = ("methods", *(f"workflow.lib.{name}" for name in ("errors", "files", "jobs", "plugins")))


def code_hash(*files: str | Path, modules: Iterable[str] = (), without: Collection[str] = ()) -> str:
    """16 hexadecimal digits for the files and all that they import, lazily or not.

    Followed are this project, what lies beside a plugin, the package that a file is of, and packages that are used
    from where they are written. `modules` are names of further modules of this project that they use; what of this
    project lies in the packages or modules `without` does not count.
    """
    return _digest(_followed([Path(file).resolve() for file in files], modules, without))


def _followed(files: Sequence[Path], modules: Iterable[str], without: Collection[str]) -> dict[Path, str]:
    """Every file that counts, with its path as its author sees it; without one for those that one begins with."""
    left_out = tuple(f"{ROOT.joinpath(*name.split('.'))}{end}" for name in without for end in ("/", ".py"))
    pending = [(file, _home(file)) for file in files]
    pending += [(file, ROOT) for name in modules if (file := _of_project(name, "")) is not None]
    seen: dict[Path, str] = {}
    while pending:
        file, home = pending.pop()
        if file not in seen and not str(file).startswith(left_out):
            seen[file] = "" if file in files else _as_seen(file, home)
            pending += _imports(file, home)
    return seen


@cache
def _as_seen(file: Path, home: Path) -> str:
    """The path of a file as its author sees it; empty where it lies elsewhere."""
    return file.relative_to(home).as_posix() if file.is_relative_to(home) else ""


def _digest(files: Mapping[Path, str]) -> str:
    """Names are part of it, for two modules may change places; where they lie is not."""
    digest = hashlib.sha256()
    for name, tree in sorted((name, _parse(file)[0]) for file, name in files.items()):
        digest.update(f"{name}\n{tree}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _imports(file: Path, home: Path) -> Sequence[tuple[Path, Path]]:
    """The files that a file imports, each with the folder in which its own absolute imports begin."""
    return list(dict.fromkeys(_found(file, home)))


def _found(file: Path, home: Path) -> Iterator[tuple[Path, Path]]:
    for module, name, level in _parse(file)[1]:
        top = module.partition(".")[0]
        if level:
            folder = file.parents[min(level, len(file.parents)) - 1]
            yield from ((path, home) for path in _below(folder, module, name))
        elif top in PACKAGES:
            yield from ((path, ROOT) for path in [_of_project(module, name)] if path)
        elif start := _start(file, home, top):
            yield from ((path, start) for path in _below(start, module, name))


def _home(file: Path) -> Path:
    """The folder of a plugin; of a module in a package, the folder in which the package lies."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _start(file: Path, home: Path, top: str) -> Path | None:
    """The folder in which the package or module `top` lies, as `file` sees it; None for an installed library."""
    if file.is_relative_to(home) and file.relative_to(home).parts[0] in PACKAGES and home == ROOT:
        return None
    # What lies beside it, in a folder that happens to be a package too.
    beside = (folder for folder in (home, file.parent) if plugin_files.sibling(folder, top))
    return next(beside, None) or _where_it_is_written(top)


@cache
def _where_it_is_written(top: str) -> Path | None:
    """The folder of a module on the PYTHONPATH, of a package installed to be edited, or of one that sells plugins."""
    if top in sys.stdlib_module_names:
        return None
    with suppress(ImportError, ValueError):
        spec = find_spec(top)
        found = plugin_files.places(spec) if spec else []
        if found and (top in _sold() or not plugin_files.installed(top)):
            place = Path(found[0])
            return place.parent.parent if place.name == "__init__.py" else place.parent
    return None


@cache
def _sold() -> frozenset[str]:
    """The modules and packages of the distributions that register an entry point of this project."""
    groups = [group for group in entry_points().groups if group.startswith(f"{GROUPS}.")]
    entries = [entry for group in groups for entry in entry_points(group=group)]
    files = {entry.dist.name: entry.dist.files or [] for entry in entries if entry.dist}
    tops = {file.parts[0].removesuffix(".py") for some in files.values() for file in some if file.suffix == ".py"}
    return frozenset(tops | {entry.module.partition(".")[0] for entry in entries})


def _below(folder: Path, module: str, name: str) -> list[Path]:
    """The files that `from module import name` runs, with the packages on the way."""
    parts = [part for part in [*module.split("."), name] if part]
    steps = [folder.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    files = [file for step in steps for file in (step.with_name(f"{step.name}.py"), step / "__init__.py")]
    return [file.resolve() for file in (folder / "__init__.py", *files) if file.is_file()]


@cache
def _parse(file: Path) -> syntax.Parsed:
    """A digest of a file's syntax tree, and what it may import."""
    return syntax.parsed(file.read_bytes())


def _of_project(module: str, name: str) -> Path | None:
    """The file of this project that an import leads to: a submodule, what a package takes its name from, or itself."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = ROOT.joinpath(*module.split("."))
    if (base / f"{name}.py").is_file():
        return base / f"{name}.py"
    if (base / "__init__.py").is_file():
        origin = (inner for inner, alias, _ in _parse(base / "__init__.py")[1] if alias == name != "")
        return next((_of_project(inner, name) for inner in origin), base / "__init__.py")
    return base.with_suffix(".py") if base.with_suffix(".py").is_file() else None
