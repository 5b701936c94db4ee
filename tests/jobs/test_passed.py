"""Which plugins have passed the check: those whose code is still what it was."""

from pathlib import Path

import pytest

from workflow.lib.jobs import code, passed

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def key(file: Path, method: str = "mine") -> str:
    """As the next process has it."""
    for known in (code._parse, code._imports):
        known.cache_clear()
    return passed.key(method, str(file), str(file))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("STEP = 1\n")
    (tmp_path / "mine.py").write_text("import helper\n")
    return tmp_path / "mine.py"


def test_what_was_noted_has_passed_until_it_or_what_it_imports_is_edited(plugin: Path) -> None:
    assert not passed.has(key(plugin))
    passed.note(key(plugin))
    assert passed.has(key(plugin))
    assert not passed.has(key(plugin, "another method of the file"))
    plugin.with_name("helper.py").write_text("STEP = 2\n")
    assert not passed.has(key(plugin))


def test_a_check_that_asks_for_more_has_not_been_passed(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed.note(key(plugin))
    for name in ("methods/tools/check.py", "methods/tools/isolation.py", "methods/contract/base.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(code, "ROOT", tmp_path)
    before = key(plugin)
    (tmp_path / "methods/tools/isolation.py").write_text("MORE = 1\n")
    assert key(plugin) != before


def test_a_built_in_method_needs_no_note(cache: Path) -> None:
    assert passed.key("zero_shot", str(ROOT / "methods" / "zero_shot.py"), passed.BUILT_IN) == ""
    assert passed.has("")
    passed.note("")
    assert not cache.exists()


def test_a_folder_that_can_t_be_written_is_an_error_that_names_it(plugin: Path, cache: Path) -> None:
    cache.write_text("a file in its place")
    assert not passed.has(key(plugin))
    with pytest.raises(OSError, match="cache"):
        passed.note(key(plugin))


@pytest.mark.parametrize(
    ("where", "command"),
    [("my/mine.py", "python -m methods check my/mine.py"), ("package shop", "python -m methods check mine")],
)
def test_the_command_is_the_one_that_notes_it(where: str, command: str) -> None:
    assert passed.command("mine", where) == command
