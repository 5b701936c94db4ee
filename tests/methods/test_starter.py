"""The starter plugin is written where it is asked for, beside what is there, and is a method."""

from pathlib import Path

import pytest

from methods.tools import starter
from methods.tools.registry import load


def test_starters_are_written_side_by_side_and_are_methods(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    for name in ("my_idea", "another2"):  # the second into a folder that is there
        assert starter.write(name, folder) == (folder / f"{name}.py", folder / f"test_{name}.py")
        registry = load([folder / f"{name}.py"])
        assert not registry.broken
        assert registry.methods[name].method.name == name
        assert f'load(["{(folder / f"{name}.py").as_posix()}"])' in (folder / f"test_{name}.py").read_text()


@pytest.mark.parametrize("taken", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("as it was")
    with pytest.raises(FileExistsError, match=f"{taken} exists already"):
        starter.write("mine", tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["as it was"]


@pytest.mark.parametrize("name", ["", "Mine", "2nd", "a-b", "a/b", "_a", "a.py"])
def test_a_name_that_can_t_be_a_module_s_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is no name for a method; allowed: a-z, 0-9 and _"):
        starter.write(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()
