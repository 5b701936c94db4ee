"""Images that change are noticed, by sizes and times; copies are not taken for changes; bytes have the last word."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.test_images import SOUND, build
from workflow.lib import files
from workflow.lib.data import contents, datasets
from workflow.lib.data.index import Index, read_fingerprint, read_index, write_index

SPEC = {"source": "folder", "path": "photos"}
FILE = Path("photos/train/elk/a.jpg")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder whose index has been made: its token."""
    monkeypatch.chdir(tmp_path)
    build(Path("photos"), *SOUND)
    prepare()
    return token()


def prepare() -> Index:
    index = datasets.prepare(SPEC, Path("data"), threads=2)
    write_index("data/index.json", index)
    return index


def token() -> str:
    index = datasets.look(SPEC)
    assert index is not None
    return contents.token(Path("data"), index)


def later(path: Path) -> None:
    """As if it had been written a second later."""
    time = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(time, time))


def replaced() -> None:
    FILE.write_bytes(FILE.read_bytes()[::-1])  # of the same size
    later(FILE)


CHANGES = {
    "replaced": replaced,
    "deleted": FILE.unlink,
    "added": lambda: build(Path("photos"), "train/elk/d.jpg"),
    "renamed": lambda: FILE.rename(FILE.with_name("z.jpg")),
    "a class added": lambda: build(Path("photos"), "train/yak/a.jpg"),
    "moved to another class": lambda: FILE.rename("photos/train/owl/c.jpg"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_noticed_and_its_index_is_another(made: str, change: Callable[[], None]) -> None:
    before = prepare().fingerprint()
    change()
    assert token() != made
    assert prepare().fingerprint() != before
    after = token()
    assert after != made
    assert after == token() == contents.known_token(Path("data"))


def copied() -> None:
    shutil.copytree("photos", "copy")
    for path in Path("copy").rglob("*.jpg"):
        later(path)
    shutil.rmtree("photos")
    os.rename("copy", "photos")


SAME = {
    "nothing": lambda: None,
    "touched": lambda: later(FILE),
    "copied": copied,
    "a text beside": lambda: build(Path("photos"), "train/elk/notes.txt"),
    "system files": lambda: build(Path("photos"), "train/elk/.DS_Store"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_images_are_the_same_whatever_their_times(made: str, change: Callable[[], None]) -> None:
    before = prepare()
    change()
    assert token() == made
    assert prepare().fingerprint() == before.fingerprint()
    assert token() == made


def test_bytes_are_read_once_and_again_only_where_sizes_or_times_are_others(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    sha256 = files.sha256
    monkeypatch.setattr(files, "sha256", lambda path: read.append(Path(path).name) or sha256(path))
    later(FILE)
    assert token() == made
    assert read == ["a.jpg"]
    assert token() == made
    assert prepare()
    assert read == ["a.jpg"]
    build(Path("photos"), "train/elk/new.jpg")
    assert token() != made
    prepare()
    assert read == ["a.jpg", "new.jpg"]


def test_a_label_a_split_or_a_name_is_noticed_too(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same images: a list that was edited, say."""
    index = datasets.look(SPEC)
    assert index is not None
    (first, _), *others = index.splits["train"]
    for other in (
        replace(index, splits={**index.splits, "train": [(first, 1), *others]}),
        replace(index, splits={**index.splits, "train": others, "val": [(first, 0)]}),
        replace(index, classnames=("moose", "owl")),
        replace(index, names=(("elk", "moose"), ("owl",))),
    ):
        assert contents.token(Path("data"), other) != made
    assert contents.token(Path("data"), index) == made


def test_a_folder_that_can_t_be_written_is_looked_at_all_the_same(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    later(FILE)
    monkeypatch.setattr(files, "write_text", full)
    assert token() == made


@pytest.mark.parametrize(
    "damage", ["", "[]\n", "{}\n", '{"state": "x", "images": "y", "seen": "z"}\nnot json\n', "\x00"]
)
def test_damaged_notes_are_no_notes(made: str, damage: str) -> None:
    Path("data/contents.jsonl").write_text(damage)
    assert token() == made  # of the same state, which no copy had before
    assert prepare().fingerprint() == read_fingerprint("data/index.json")
    assert token() == made


def test_the_fingerprint_stands_in_front_and_a_list_that_was_edited_has_another(made: str) -> None:
    text = Path("data/index.json").read_text()
    assert read_fingerprint("data/index.json") == read_index("data/index.json").fingerprint()
    Path("data/index.json").write_text(text.replace("a.jpg", "z.jpg"))
    with pytest.raises(Exception, match="its fingerprint is that of another list; delete it"):
        read_index("data/index.json")
    assert read_fingerprint("nowhere") == ""
    Path("old.json").write_text('{"classnames": []}')
    assert read_fingerprint("old.json") == ""


def test_the_fingerprint_does_not_depend_on_where_the_images_lie(made: str) -> None:
    before = prepare().fingerprint()
    os.rename("photos", "moved")
    there = datasets.prepare(SPEC | {"path": "moved"}, Path("data"), threads=1)
    assert there.fingerprint() == before
