"""Indices of images: classes, labels and paths inside the root, or one line that names the index."""

import json
import os
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import TEXTS, TRAPS, damaged, json_text, mutated, outcome
from workflow.lib.data import datasets
from workflow.lib.data.index import Index, read_index, write_index
from workflow.lib.errors import UserError

RIGHT = {
    "classnames": ["ant", "bee"],
    "root": ".",
    "splits": {"train": [["train/0.png", 0], ["train/1.png", 1]], "test": [["test/0.png", 1]]},
    "names": [["ant"], ["bee", "honey bee"]],
    "left_out": {".txt": 3},
    "contents": "ab12",
}


def check(path: Path, content: bytes) -> Index | None:
    """Read the index: what is accepted stays inside its root, and its labels are indices of its names."""
    path.write_bytes(content)
    found = outcome(lambda: read_index(path), path)
    if found is not None:
        assert len(set(found.classnames)) == len(found.classnames) > 0
        for file, label in (entry for entries in found.splits.values() for entry in entries):
            assert type(label) is int
            assert found.classnames[label]
            inside = PurePosixPath(os.path.normpath(file))
            assert not inside.is_absolute()
            assert inside.parts[0] != ".."
        assert all(name.strip() for own in found.prompt_names() for name in own)
        copy = path.with_name("copy.json")
        write_index(copy, found)
        assert read_index(copy) == found
    return found


def test_the_right_one_is_read(tmp_path: Path) -> None:
    found = check(tmp_path / "index.json", json_text(RIGHT))
    assert found is not None
    assert found.classnames == ("ant", "bee")


@given(value=mutated(RIGHT))
def test_an_index_of_another_shape(tmp_path: Path, value: Any) -> None:
    check(tmp_path / "index.json", json_text(value))


@given(content=damaged(json.dumps(RIGHT, indent=1).encode()))
def test_damaged_bytes(tmp_path: Path, content: bytes) -> None:
    check(tmp_path / "index.json", content)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_index(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "index.json", content) is None


@pytest.mark.parametrize("file", ["../x.png", "a/../../x.png", "/etc/passwd", "..", "", "\ud800.png", None, 7, ["a"]])
def test_an_image_outside_the_root_is_refused(tmp_path: Path, file: Any) -> None:
    value = RIGHT | {"splits": {"train": [[file, 0], ["b", 1]]}}
    assert check(tmp_path / "index.json", json_text(value)) is None


@pytest.mark.parametrize(
    "names", ["ab", {"ant": 0, "bee": 1}, ["ant", "ant"], ["ant", ""], ["ant", 1], ["ant", "\ud800"], []]
)
def test_class_names_that_are_no_list_of_names_are_refused(tmp_path: Path, names: Any) -> None:
    assert check(tmp_path / "index.json", json_text(RIGHT | {"classnames": names})) is None


# --- folders of images -------------------------------------------------------------------------------------------


@given(name=st.sampled_from(TEXTS) | st.text(min_size=1, max_size=20))
def test_a_folder_of_any_name_is_a_class_of_that_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Line breaks, markup, other alphabets: a name is a name. What the file system refuses can't come."""
    home = tmp_path_factory.mktemp("photographs", numbered=True)
    try:
        folder = home / "train" / name.replace("/", "_")
        folder.mkdir(parents=True)
    except (OSError, ValueError):
        return
    (folder / "0.png").touch()
    (home / "train" / "zebu").mkdir(exist_ok=True)
    (home / "train" / "zebu" / "0.png").touch()
    path = home / "index.json"

    def made() -> bool:
        write_index(path, datasets.prepare({"source": "folder", "path": str(home)}, home / "data", 1))
        return True

    if outcome(made, home):
        words = unicodedata.normalize("NFC", folder.name).replace("_", " ").split()
        assert (" ".join(words) or folder.name) in read_index(path).classnames
    else:
        assert not path.exists()


def test_a_file_name_that_is_no_utf_8_is_named_and_no_half_index_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "ant"
    folder.mkdir(parents=True)
    (folder / "0.png").touch()
    (tmp_path / "train" / "bee").mkdir()
    (tmp_path / "train" / "bee" / "0.png").touch()
    try:
        open(os.path.join(os.fsencode(folder), b"\xe9.png"), "wb").close()
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    with pytest.raises(UserError, match=r"train: .*is no path inside the root, in UTF-8"):
        datasets.prepare({"source": "folder", "path": str(tmp_path)}, tmp_path / "data", 1)


@pytest.mark.parametrize("path", ["", "nul\0", "~nobody_of_this_name/x", "a" * 300, "/etc/passwd", "no/such"])
def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, path: str) -> None:
    outcome(lambda: datasets.prepare({"source": "folder", "path": path}, tmp_path, 1), path.split("\0")[0])
