"""The quick tests that a change concerns: `make check` runs them, or `python -m tests.changed [COMMIT]`.

What has changed is what differs from the commit, by default the last one that origin/main has too. A test file concerns
a file of the project if it imports it, names it, is called after it, or takes all files with its ending; where none
does, if it imports what imports the file.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests import doors
from tests.doors import ROOT

ALWAYS = [ROOT / "tests" / "test_imports.py"]
SLOW = re.compile(r"^pytestmark = .*\bslow\b", re.MULTILINE)
MOST = 20  # test files in one call: of those that concern a file that many import, the nearest


def git(*arguments: str) -> list[str]:
    """The lines of an answer of git's; none where it has no answer."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed(since: str) -> list[Path]:
    """The files that differ from a commit, committed or not, without those that have gone."""
    names = [*git("diff", "--name-only", since), *git("ls-files", "--others", "--exclude-standard")]
    return [ROOT / name for name in dict.fromkeys(names) if (ROOT / name).is_file()]


@cache
def tests() -> list[Path]:
    """Every file with quick tests."""
    return [path for path in doors.files("tests") if path.name.startswith("test_") and not SLOW.search(_text(path))]


@cache
def _text(test: Path) -> str:
    return test.read_text(encoding="utf-8")


@cache
def _imported(test: Path) -> set[str]:
    return {one.module for one in doors.imports(test)}


def concerned(file: Path) -> list[Path]:
    """The test files that a file concerns, the nearest first: its own, those of its room, then the others."""
    if file.name.startswith("test_"):
        return [file] if file in tests() else []
    if file.suffix == ".py":
        module = doors.module_of(file)
        room = doors.room_of(module).split(".")[0]
        found = _of_module(module) or [test for test in tests() if test.parent.name == room]
        found += [test for test in tests() if _called(test, file) and test not in found]
    else:
        room = file.parent.name
        words = (file.name, f"*{file.suffix or file.name}")
        found = [test for test in tests() if any(word in _text(test) for word in words)]
    return sorted(
        found,
        key=lambda test: (test.stem != f"test_{file.stem}", not _called(test, file), test.parent.name != room),
    )


def _called(test: Path, file: Path) -> bool:
    """Whether a test file is called after a file, as test_tuned_methods.py after tuned.py."""
    return f"{test.stem}_".startswith(f"test_{file.stem}_")


def _of_module(module: str) -> list[Path]:
    """The test files that import or name a module; where none does, one that imports it, and so on."""
    if module.endswith(".__main__"):  # nothing imports it: it is run
        return [test for test in tests() if f'"-m", "{module.removesuffix(".__main__")}"' in _text(test)]
    reached, edge = {module}, {module}
    while edge:
        if found := [test for test in tests() if any(one in _imported(test) or one in _text(test) for one in edge)]:
            return found
        edge = {user for user, imported in _users().items() if imported & edge} - reached
        reached |= edge
    return []


@cache
def _users() -> dict[str, set[str]]:
    """What each module of the project imports of it; not those that only pass on what others have."""
    files = (path for path in doors.files("methods", "workflow") if path.name != "__init__.py")
    return {doors.module_of(file): {one.module for one in doors.imports(file)} for file in files}


def nearest(files: Iterable[Path]) -> list[Path]:
    """The test files that any of these concerns: of each the nearest, then of each the second, and so on."""
    each = [concerned(file) for file in files]
    longest = max(map(len, each), default=0)
    return list(dict.fromkeys(found[place] for place in range(longest) for found in each if place < len(found)))


def pytest(*arguments: str | Path) -> int:
    """The exit status of the quick tests in these files."""
    command = [sys.executable, "-m", "pytest", "-m", "not slow", "-n", "2", "--dist", "worksteal", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    since = sys.argv[1] if len(sys.argv) > 1 else next(iter(git("merge-base", "HEAD", "origin/main")), "HEAD")
    files = changed(since)
    found = nearest(files)
    print(f"{len(files)} files differ from {since[:12]}; {len(found)} test files concern them.")
    if len(found) > MOST:
        print(f"The {MOST} nearest of these run. `make test` runs the others too.")
    return pytest(*dict.fromkeys([*ALWAYS, *found[:MOST]]))


if __name__ == "__main__":
    sys.exit(main())
