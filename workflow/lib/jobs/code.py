"""What a result depends on in code: a hash over a module and the project's modules that it imports.

Snakemake reruns what has this hash as a parameter when, and only when, the code behind it has changed. Comments and
formatting don't count: the syntax tree is hashed, not the text.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("methods", "workflow")


def code_hash(*files: str | Path, modules: Iterable[str] = ()) -> str:
    """16 hexadecimal digits for the files and all that they import from this project, lazily or not.

    `modules` are names of further modules that they use; what is not of this project does not count.
    """
    seen: set[Path] = set()
    pending = [Path(file).resolve() for file in files]
    pending += [file for name in modules if (file := _module_file(name, "")) is not None]
    while pending:
        file = pending.pop()
        if file not in seen:
            seen.add(file)
            pending += _imports(file)
    digest = hashlib.sha256()
    for tree in sorted(_parse(file)[0] for file in seen):
        digest.update(tree.encode())
    return digest.hexdigest()[:16]


def _imports(file: Path) -> list[Path]:
    found = (_module_file(module, name) for module, name in _parse(file)[1])
    return [path for path in found if path is not None]


@cache
def _parse(file: Path) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The syntax tree of a file as text, and what it may import: `(module, name)`, the name empty for a module."""
    tree = ast.parse(file.read_bytes(), str(file))
    return ast.dump(tree), tuple(_names(tree))


def _names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def _module_file(module: str, name: str) -> Path | None:
    """The file of this project that an import leads to: a submodule, what a package takes its name from, or itself."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = ROOT.joinpath(*module.split("."))
    if (base / f"{name}.py").is_file():
        return base / f"{name}.py"
    if (base / "__init__.py").is_file():
        origin = (inner for inner, alias in _parse(base / "__init__.py")[1] if alias == name != "")
        return next((_module_file(inner, name) for inner in origin), base / "__init__.py")
    return base.with_suffix(".py") if base.with_suffix(".py").is_file() else None
