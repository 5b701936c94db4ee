"""What decides which tests run, in which order, and what of it is said: the order, what is skipped, `make check`."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import changed, longest, mutants, needs
from tests.doors import ROOT

# --- the order -------------------------------------------------------------------------------------------------------


def test_the_files_that_run_first_are_there_once() -> None:
    assert all((ROOT / "tests" / f"{name}.py").is_file() for name in longest.FIRST)
    assert len(set(longest.FIRST)) == len(longest.FIRST)


def test_the_longest_files_run_first_and_the_others_in_their_order() -> None:
    names = [
        "tests/a.py::x",
        f"tests/{longest.FIRST[1]}.py::x",
        "tests/b.py::x",
        f"tests/{longest.FIRST[0]}.py::[a::b]",
    ]
    items = [SimpleNamespace(nodeid=name) for name in names]
    longest.sort(items)  # type: ignore[arg-type]
    assert [item.nodeid for item in items] == [names[3], names[1], names[0], names[2]]


class Terminal:
    """What the ends of runs are told."""

    def __init__(self, **reports: list[SimpleNamespace]) -> None:
        self._reports = reports
        self.lines: list[str] = []

    def getreports(self, name: str) -> list[SimpleNamespace]:
        return self._reports.get(name, [])

    def section(self, title: str, **_: object) -> None:
        self.lines.append(title)

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_a_file_that_takes_long_and_does_not_run_first_is_named() -> None:
    def took(file: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(nodeid=f"{file}::test_{i}", duration=20) for i in range(3)]

    long = [*took("tests/new.py"), *took(f"tests/{longest.FIRST[0]}.py")]
    short = [SimpleNamespace(nodeid=f"tests/test_{i}.py::test", duration=0.1) for i in range(longest.MANY)]
    for passed, lines in (
        (long + short, ["tests/new.py took 60 s: it belongs into FIRST in tests/longest.py"]),
        (long, []),
    ):
        terminal = Terminal(passed=passed)
        longest.summary(terminal)  # type: ignore[arg-type]
        assert terminal.lines == lines


# --- what is skipped -------------------------------------------------------------------------------------------------


def test_without_a_program_a_test_is_skipped_and_where_it_is_required_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUIRE_LATEX", raising=False)
    needs.programs("latex", "sh")
    with pytest.raises(pytest.skip.Exception, match=r"^no no_such_tex on the PATH; `tests/install.sh latex` installs"):
        needs.programs("latex", "sh", "no_such_tex")
    monkeypatch.setenv("REQUIRE_LATEX", "1")
    needs.programs("latex", "sh")
    with pytest.raises(pytest.fail.Exception, match="REQUIRE_LATEX is set, but there is no no_such_tex"):
        needs.programs("latex", "sh", "no_such_tex")


def test_what_is_not_to_be_overlooked_is_said_at_the_end() -> None:
    reasons = ["Skipped: no x on the PATH; `tests/install.sh latex` installs"] * 2 + ["Skipped: no AVIF"]
    terminal = Terminal(skipped=[SimpleNamespace(longrepr=("f.py", 1, reason)) for reason in reasons])
    needs.summary(terminal)  # type: ignore[arg-type]
    assert terminal.lines == [
        "NOT EVERYTHING WAS TESTED",
        "2 tests were skipped: no x on the PATH; `tests/install.sh latex` installs",
    ]


def test_ci_requires_what_it_can_install() -> None:
    script = (ROOT / "tests" / "install.sh").read_text(encoding="utf-8")
    known = [line.split(")")[0].strip() for line in script.splitlines() if "programs=" in line]
    assert f"tests/install.sh {' '.join(known)}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    required = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(f"REQUIRE_{what.upper()}=1 " in required for what in known)


def test_what_can_t_be_installed_is_said_and_no_failure(tmp_path: Path) -> None:
    """Not as root, or not on Debian: without apt-get on the PATH."""
    (tmp_path / "bash").symlink_to("/bin/bash")
    (tmp_path / "id").symlink_to("/usr/bin/id")
    command = ["/bin/bash", ROOT / "tests" / "install.sh", "latex"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("There is no pdflatex here, and only root on a Debian system can install it")


# --- the tests of a change -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "first"),
    [
        ("methods/proker.py", "tests/methods/test_proker.py"),
        ("workflow/lib/reporting/tables.py", "tests/reporting/test_tables.py"),
        ("workflow/lib/evaluation/folds.py", "tests/evaluation/"),
        ("workflow/scripts/compare.py", "tests/reporting/test_compare.py"),
        ("workflow/schemas/config.schema.yaml", "tests/"),
        ("docs/slurm.md", "tests/test_docs"),
        ("workflow/rules/tables.smk", "tests/test_imports.py"),
        ("tests/test_files.py", "tests/test_files.py"),
        ("methods/__main__.py", "tests/methods/test_cli.py"),
        ("methods/contract/tuned.py", "tests/towers/test_tuned_methods.py"),
        ("methods/tools/behaviour.py", "tests/methods/"),
    ],
)
def test_a_file_concerns_its_own_test_first(file: str, first: str) -> None:
    nearest, *_ = changed.concerned(ROOT / file)
    assert str(nearest.relative_to(ROOT)).startswith(first)


def test_every_module_concerns_a_test() -> None:
    files = [path for place in mutants.PLACES for path in (ROOT / place).rglob("*.py") if path.stem != "__init__"]
    assert [path for path in files if not changed.concerned(path)] == []


def test_of_many_files_the_nearest_tests_come_first() -> None:
    files = [ROOT / "methods" / f"{name}.py" for name in ("proker", "lfa")]
    assert [path.stem for path in changed.nearest(files)[:2]] == ["test_proker", "test_lfa"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one commit."""
    monkeypatch.setattr(changed, "ROOT", tmp_path)
    for name in ("kept.py", "edited.py", "gone.py"):
        (tmp_path / name).write_text("1\n")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_what_has_changed_is_what_was_edited_or_is_new(checkout: Path) -> None:
    (checkout / "edited.py").write_text("2\n")
    (checkout / "new.py").write_text("1\n")
    (checkout / "gone.py").unlink()
    assert changed.changed("HEAD") == [checkout / "edited.py", checkout / "new.py"]


# --- small mistakes --------------------------------------------------------------------------------------------------


def test_no_mistake_is_made_in_a_guard() -> None:
    source = "@dataclass(frozen=True)\nclass A:\n    x = sorted(zip(a, b, strict=True), reverse=True)\n"
    lines = source.splitlines()
    places = {(row, column) for row, column in mutants.idle(source) if lines[row - 1][column:].startswith("True")}
    assert places == {(1, 18), (3, 32)}


def test_no_mistake_is_made_in_an_annotation() -> None:
    source = "def f(x: int | None, y=1 | 2) -> int | str:\n    z: int | None = x\n    return 1 | z\n"
    idle = mutants.idle(source)
    bars = [
        (row, column) for row, line in enumerate(source.splitlines(), 1) for column, c in enumerate(line) if c == "|"
    ]
    assert [place for place in bars if place not in idle] == [(1, 25), (3, 13)]


def test_a_mistake_is_taken_back_whether_it_was_noticed_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.py").write_text("x = 1\n")
    os.utime(tmp_path / "m.py", (5, 5))
    seen: list[str] = []
    monkeypatch.setattr(mutants, "tests_of", lambda one: [])
    monkeypatch.setattr(mutants, "passed", lambda folder, tests: bool(seen.append((folder / "m.py").read_text())))
    copies: mutants.SimpleQueue[Path] = mutants.SimpleQueue()
    copies.put(tmp_path)
    one = mutants.Mutant("m.py", 1, "x = 1", "x = 2", "x = 2\n")
    assert mutants.noticed(copies, float("inf"), one) is True
    assert mutants.noticed(copies, 0, one) is None
    assert seen == ["x = 2\n"]
    assert ((tmp_path / "m.py").read_text(), (tmp_path / "m.py").stat().st_mtime) == ("x = 1\n", 5)
    assert copies.get(block=False) == tmp_path


def test_survivors_are_printed_but_for_those_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "known.toml").write_text(
        "[[mutant]]\nfile = 'm.py'\nbefore = 'a = 1'\nafter = 'a = 2'\nreason = 'nobody reads it'\n"
    )
    monkeypatch.setattr(mutants, "EQUIVALENT", tmp_path / "known.toml")
    drawn = [mutants.Mutant("m.py", i, f"{name} = 1", f"{name} = 2", "") for i, name in enumerate("abcde")]
    assert mutants.report(drawn, [False, False, True, True, None]) == 1
    assert capsys.readouterr().out == (
        "m.py:1\n  - b = 1\n  + b = 2\n4 of 5 ran: 1 change nothing, 1 were not noticed. Noticed: 67 %.\n"
    )


def test_every_reason_is_of_a_line_that_is_still_there() -> None:
    for (file, before, _), reason in mutants.reasons().items():
        assert before in [line.strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
        assert reason
