"""How many small mistakes the quick tests notice: `make mutants`, `python -m tests.mutants [COUNT [SEED [MINUTES]]]`.

Cosmic Ray makes a mistake in a copy of the checkout; the test files that the changed file concerns most run against
it. A mistake is noticed if they fail, or don't end. What is left is printed, unless tests/equivalent.toml has the
reason why it changes nothing.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests import changed, doors
from tests.doors import ROOT

PLACES = ["methods", *(f"workflow/lib/{room}" for room in ("evaluation", "features", "reporting", "shipping", "study"))]
EQUIVALENT = ROOT / "tests" / "equivalent.toml"
WORKERS = 2
NEAR, FILES = 5, 20  # test files that run against a mistake: the nearest, then the others
EVERYWHERE = ROOT / "tests" / "test_docs.py"  # what the pages say is held to all of the code
PATIENCE = 300  # seconds for them
PYTHON = ROOT / ".venv" / "bin" / "python"
# Of no use: on numbers they fail wherever the line runs; the last one names an exception that there is not.
GUARDS = ("strict", "frozen")
NEVER = ("BitOr", "BitAnd", "BitXor", "LShift", "RShift", "MatMul", "Invert", "ExceptionReplacer")


@dataclass(frozen=True)
class Mutant:
    """A mistake: a line of a file as it was and as it is now, and the text of the file with it."""

    file: str
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}\n  - {self.before}\n  + {self.after}"


# --- making them -----------------------------------------------------------------------------------------------------


def idle(source: str) -> set[tuple[int, int]]:
    """The lines and columns of what nothing reads when a program without mistakes runs.

    These are annotations, and the guards `strict=` of zip and `frozen=` of a dataclass, which only ever forbid.
    """
    found: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(source)):
        guard = node.value if isinstance(node, ast.keyword) and node.arg in GUARDS else None
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None), guard):
            if part is not None:
                inside = [one for one in ast.walk(part) if isinstance(one, ast.expr)]
                rows = range(part.lineno, part.end_lineno + 1)
                columns = range(part.col_offset, max(one.end_col_offset or 0 for one in inside) + 1)
                found |= {(row, column) for row in rows for column in columns}
    return found


def positions(file: Path) -> Iterator[tuple[tuple[int, int], str, int]]:
    """Where a mistake can be made in a file, by which operator, and as which of its occurrences."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    source = file.read_text(encoding="utf-8")
    nodes, never = list(ast_nodes(get_ast(source))), idle(source)
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments() or any(word in name for word in NEVER):
            continue
        found = [start for node in nodes for start, _ in kind().mutation_positions(node)]
        yield from ((start, name, number) for number, start in enumerate(found) if tuple(start) not in never)


def sample(files: Sequence[Path], count: int, seed: int) -> list[Mutant]:
    """Mistakes at places drawn without favour for a place where many are possible, one at each.

    The same ones come again after an edit elsewhere: what is drawn depends on the line, and not on where it stands.
    """
    places: dict[tuple[Path, tuple[int, int]], list[tuple[str, int]]] = {}
    for file in files:
        for start, name, number in positions(file):
            places.setdefault((file, start), []).append((name, number))
    lines = {file: file.read_text(encoding="utf-8").splitlines() for file in files}

    def lot(place: tuple[Path, tuple[int, int]], operator: str = "") -> str:
        file, (row, column) = place
        what = f"{seed} {file.relative_to(ROOT)} {lines[file][row - 1]} {column} {operator}"
        return sha256(what.encode()).hexdigest()

    drawn = sorted(sorted(places), key=lot)[:count]
    print(f"{len(places)} places for a mistake in {len(files)} files; {len(drawn)} of them drawn with seed {seed}.")
    return [mutant(place[0], *min((lot(place, one[0]), *one) for one in places[place])[1:]) for place in drawn]


def mutant(file: Path, operator: str, number: int) -> Mutant:
    """The file with one mistake."""
    from cosmic_ray import plugins
    from cosmic_ray.mutating import mutate_code

    source = file.read_text(encoding="utf-8")
    text = mutate_code(source, plugins.get_operator(operator)(), number)
    assert text is not None, (file, operator, number)
    old, new = source.splitlines(), text.splitlines()
    place = next((i for i, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    return Mutant(str(file.relative_to(ROOT)), place + 1, old[place].strip(), new[place].strip(), text)


# --- running the tests against them ----------------------------------------------------------------------------------


def copy_checkout(folder: Path) -> Path:
    """What git knows of, or would, and what Numba has compiled."""
    for name in changed.git("ls-files", "--cached", "--others", "--exclude-standard"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    compiled = Path("workflow", "lib", "engine", "__pycache__")
    shutil.copytree(ROOT / compiled, folder / compiled, dirs_exist_ok=True)
    return folder


def passed(folder: Path, tests: Sequence[Path], *options: str, patience: float = PATIENCE) -> bool:
    """Whether the quick tests of these files pass in a copy, if there are any."""
    if not tests:
        return True
    # Nothing compiled is kept: the next mistake in a file can have its size and its second.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    command = [str(PYTHON), "-m", "pytest", "-x", "-m", "not slow", "--timeout", "60", "-p", "no:cacheprovider"]
    command += ["-o", "addopts=-q", *options, *(str(test.relative_to(ROOT)) for test in tests)]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, timeout=patience)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode in (0, 5)  # 5: there is no quick test


def tests_of(one: Mutant) -> list[Path]:
    """The test files that are to notice a mistake, the nearest first."""
    found = changed.concerned(ROOT / one.file)[:FILES]
    return list(dict.fromkeys([*found[:NEAR], EVERYWHERE, *found[NEAR:]]))


def noticed(copies: "SimpleQueue[Path]", end: float, one: Mutant) -> bool | None:
    """Whether the tests notice a mistake; None if the time is over."""
    if time.monotonic() > end:
        return None
    folder = copies.get()
    file = folder / one.file
    before, times = file.read_bytes(), file.stat()
    try:
        file.write_text(one.text, encoding="utf-8")
        tests = tests_of(one)
        return not (passed(folder, tests[:NEAR]) and passed(folder, tests[NEAR:]))
    finally:
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        copies.put(folder)


def reasons() -> dict[tuple[str, str, str], str]:
    """Why a mistake changes nothing, by its file and its line before and after."""
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    return {(one["file"], one["before"], one["after"]): one["reason"] for one in table.get("mutant", [])}


def report(drawn: Sequence[Mutant], found: Sequence[bool | None]) -> int:
    """Print the survivors and the share that was noticed of those that change something; the number of survivors."""
    known, left, idle, run = reasons(), 0, 0, sum(one is not None for one in found)
    for one, hit in zip(drawn, found, strict=True):
        if hit is False and (one.file, one.before, one.after) in known:
            idle += 1
        elif hit is False:
            left += 1
            print(one)
    share = 100 * (1 - left / max(1, run - idle))  # of those that change something
    print(f"{run} of {len(drawn)} ran: {idle} change nothing, {left} were not noticed. Noticed: {share:.0f} %.")
    return left


def main(count: int = 150, seed: int = 0, minutes: float = 29) -> None:
    drawn = sample(doors.files(*PLACES), count, seed)
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="mutants-") as home, ThreadPoolExecutor(WORKERS) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        folders = [copy_checkout(Path(home) / str(number)) for number in range(WORKERS)]
        for folder in folders:
            copies.put(folder)
        every = sorted({test for one in drawn for test in tests_of(one)})
        if not passed(folders[0], every, "-n", str(WORKERS), "--dist", "worksteal", patience=1200):
            sys.exit("error: the tests fail without a mistake too: python -m pytest -m 'not slow'")
        found = []
        for one, hit in zip(drawn, pool.map(partial(noticed, copies, end), drawn), strict=True):
            found.append(hit)
            if hit is False:
                print(f"{len(found)} of {len(drawn)}, not noticed: {one}", flush=True)
            elif len(found) % 10 == 0:
                print(f"{len(found)} of {len(drawn)}", flush=True)
    report(drawn, found)


if __name__ == "__main__":
    main(*(kind(text) for kind, text in zip((int, int, float), sys.argv[1:], strict=False)))
