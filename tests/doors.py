"""The rooms of the code and who imports whom: read for tests/test_imports.py, and drawn for docs/architecture.md.

`python -m tests.doors` writes the table of rooms into the page anew.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: made by `make docs` -->\n", "<!-- end of rooms -->"
PACKAGES = ("methods", "workflow", "tests", "benchmarks")


@dataclass(frozen=True)
class Import:
    """One module of the project that a file imports, and the line of it."""

    file: Path
    line: int
    module: str


def files(*folders: str) -> list[Path]:
    """The Python files of these folders of the project."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_of(file: Path) -> str:
    """The dotted name of a file; that of a package is its folder's."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path, *, lazy: bool = True) -> list[Import]:
    """What a file imports from this project, inside functions and under TYPE_CHECKING too unless not `lazy`.

    `from package import module` counts as the module.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            found += [Import(file, node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide the direction"
            found += [Import(file, node.lineno, _module(str(node.module), alias.name)) for alias in node.names]
    return [one for one in found if one.module.split(".")[0] in PACKAGES]


def _module(module: str, name: str) -> str:
    folder = ROOT.joinpath(*module.split("."))
    return f"{module}.{name}" if (folder / f"{name}.py").is_file() or (folder / name).is_dir() else module


def room_of(module: str) -> str:
    """The room of a module: a package of workflow/lib or methods, `methods` for a method, `scripts`, …"""
    parts = module.split(".")
    if parts[:2] == ["workflow", "lib"]:
        return parts[2] if len(parts) > 2 else "lib"
    if parts[0] == "methods" and len(parts) > 1 and (ROOT / "methods" / parts[1]).is_dir():
        return ".".join(parts[:2])
    return "scripts" if parts[:2] == ["workflow", "scripts"] else parts[0]


def doors() -> dict[str, list[str]]:
    """The rooms that each room may import, from pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["rooms"]
    named: Mapping[str, Sequence[str]] = table["doors"]
    return {
        room: [name for one in allowed for name in (table["everybody"] if one == "everybody" else [one])]
        for room, allowed in named.items()
    }


def violations(found: Sequence[Import], allowed: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for every import that goes through no door: the file, the line and the rule."""
    lines = []
    for one in found:
        here, there = room_of(module_of(one.file)), room_of(one.module)
        if here != there and there not in allowed.get(here, []):
            rule = f"{here} may import {', '.join(allowed.get(here, [])) or 'no other room'}"
            lines.append(f"{one.file.relative_to(ROOT)}:{one.line}: imports {one.module} ({there}); {rule}")
    return lines


def circles(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Every name that can reach itself."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        pending = list(edges.get(start, []))
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending += edges.get(name, [])
        return seen

    return [name for name in edges if name in reached(name)]


def page() -> str:
    """docs/architecture.md with its table of rooms as the code is now."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{''.join(_table())}{rest[rest.index(END) :]}"


def _table() -> Iterator[str]:
    yield "| room | what is in it | may import | modules |\n|---|---|---|---|\n"
    for room, allowed in doors().items():
        names = [path.stem for path in sorted(_folder(room).glob("*.py")) if not path.stem.startswith("__")]
        if room not in ("methods", "scripts"):
            modules = " ".join(f"`{name}`" for name in names)
        else:
            modules = f"{len(names)} files"
        yield f"| {_link(room)} | {_doc(room)} | {', '.join(allowed) or 'nothing'} | {modules} |\n"


def _folder(room: str) -> Path:
    places = (ROOT / "workflow" / "lib" / room, ROOT.joinpath(*room.split(".")), ROOT / "workflow" / room)
    return next((place for place in places if place.is_dir()), ROOT / "workflow" / "lib" / f"{room}.py")


def _link(room: str) -> str:
    return f"[`{room}`](../{_folder(room).relative_to(ROOT)})"


def _doc(room: str) -> str:
    folder = _folder(room)
    file = folder / "__init__.py" if folder.is_dir() else folder
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
