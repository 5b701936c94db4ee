"""What counts of a Python file is found once and kept by its content: never out of date, and never in the way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from workflow.lib.jobs import syntax

CODE = b"import json\n\n\ndef f():\n    from .a import b\n    return 1\n"
FOUND = (("json", "", 0), ("a", "b", 1))


def forget() -> None:
    """As in a new process."""
    syntax._known.cache_clear()
    syntax._file.cache_clear()
    syntax._new.clear()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's cache, and nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(syntax.atexit, "register", lambda function: None)
    forget()
    yield tmp_path / "cache" / "clip-adapter-bench" / "syntax"
    forget()


def kept(cache: Path) -> Path:
    """The file, written by an earlier process that has met CODE."""
    syntax.parsed(CODE)
    syntax._save()
    forget()
    (file,) = cache.iterdir()
    return file


def test_comments_and_formatting_don_t_count_and_everything_else_does() -> None:
    digest, imports = syntax.parsed(CODE)
    assert imports == FOUND
    assert syntax.parsed(CODE.replace(b"return 1", b"return  1  # one")) == (digest, FOUND)
    assert syntax.parsed(CODE.replace(b"return 1", b"return 2"))[0] != digest
    no_python = [syntax.parsed(content) for content in (b"def (\n", b"def [\n")]
    assert [imports for _, imports in no_python] == [(), ()]
    assert len({digest, *(other for other, _ in no_python)}) == 3


def test_what_an_earlier_process_has_found_is_not_found_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = syntax.parsed(CODE)
    kept(cache)
    taken_apart: list[bytes] = []
    monkeypatch.setattr(syntax, "_taken_apart", lambda content: taken_apart.append(content) or ("", ()))
    assert syntax.parsed(CODE) == expected
    assert taken_apart == []
    syntax.parsed(CODE + b"\n")
    assert taken_apart == [CODE + b"\n"]


def test_what_others_keep_meanwhile_stays(cache: Path) -> None:
    file = kept(cache)
    syntax.parsed(b"a = 1\n")
    there = json.loads(file.read_text())
    file.write_text(json.dumps({**there, "of another": ["digest", []]}))
    syntax._save()
    assert len(json.loads(file.read_text())) == 3
    assert [path.name for path in cache.iterdir()] == [file.name]


def test_what_is_too_much_is_dropped(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = kept(cache)
    monkeypatch.setattr(syntax, "MOST", 1)
    syntax.parsed(b"a = 1\n")
    syntax._save()
    assert len(json.loads(file.read_text())) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": ["digest", [["b"]]]}', "\x00\xff"])
def test_a_damaged_file_is_none(cache: Path, content: str) -> None:
    expected = syntax.parsed(CODE)
    file = kept(cache)
    file.write_text(content)
    assert syntax.parsed(CODE) == expected
    syntax._save()
    forget()
    assert syntax.parsed(CODE) == expected
    assert len(json.loads(file.read_text())) == 1


def test_where_nothing_can_be_kept_it_is_found_each_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    assert syntax.parsed(CODE)[1] == FOUND
    syntax._save()


def test_another_version_of_the_module_or_of_python_has_another_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept(cache)
    monkeypatch.setattr(syntax.sys, "version", "4.0")
    forget()
    assert syntax._file() != first
