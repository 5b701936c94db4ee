"""The index of a dataset: read as it was written, and nothing wrong is ever read."""

import json

import pytest

from workflow.lib.data.index import Index, read_index, write_index
from workflow.lib.errors import UserError

PAIR = [("1.png", 0), ("2.png", 1)]
SOUND = {"classnames": ["a", "b"], "root": ".", "splits": {"train": [["x/1.png", 0], ["2.png", 1]]}}


def test_an_index_is_read_as_it_was_written(tmp_path):
    index = Index(("a", "b"), tmp_path / "images", {"train": [("1.png", 0), ("2.png", 1)], "test": [("3.png", 1)]})
    write_index(tmp_path / "index.json", index)
    assert read_index(tmp_path / "index.json") == index


def test_images_beside_the_index_may_move_with_it(tmp_path):
    write_index(tmp_path / "a" / "index.json", Index(("a", "b"), tmp_path / "a" / "images", {"train": PAIR}))
    (tmp_path / "a").rename(tmp_path / "b")
    assert read_index(tmp_path / "b" / "index.json").root == tmp_path / "b" / "images"


def test_images_elsewhere_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_index("data/index.json", Index(("a", "b"), tmp_path / "mine", {"train": PAIR}))
    monkeypatch.chdir("/")
    assert read_index(tmp_path / "data" / "index.json").root == tmp_path / "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classnames": []}, "classnames: one name for each class"),
        (
            {"classnames": ["a"], "splits": {"train": [["1.png", 0]]}},
            "one class only, 'a': there is nothing to tell it from",
        ),
        ({"classnames": ["a", "a"]}, "'a' stands there twice"),
        ({"classnames": ["a", "b", "c"]}, "train has no image of class 'c'"),
        ({"splits": {"test": [["1.png", 0]]}}, "splits are test; train is wanted"),
        ({"splits": SOUND["splits"] | {"trian": []}}, "splits are train, trian"),
        ({"splits": SOUND["splits"] | {"val": []}}, "val has no images"),
        ({"splits": {"train": [["1.png", 2]]}}, "'1.png' has label 2; labels go from 0 to 1"),
        ({"splits": {"train": [["1.png", -1]]}}, "label -1"),
        ({"splits": {"train": [["1.png", True]]}}, "label True"),
        ({"splits": {"train": [["1.png", 0.0]]}}, "label 0.0"),
        ({"splits": {"train": [["../1.png", 0]]}}, "'../1.png' is no path inside the root"),
        ({"splits": {"train": [["a/../../1.png", 0]]}}, "is no path inside the root"),
        ({"splits": {"train": [["/etc/1.png", 0]]}}, "'/etc/1.png' is no path inside the root"),
        ({"splits": {"train": [["", 0]]}}, "'' is no path inside the root"),
        ({"splits": {"train": [[7, 0]]}}, "7 is no path inside the root"),
        ({"splits": {"train": [["1.png"]]}}, "not an index of images"),
        ({"splits": None}, "not an index of images"),
        ({"root": 4}, "not an index of images"),
    ],
)
def test_a_wrong_index_is_one_line(tmp_path, change, message):
    path = tmp_path / "index.json"
    path.write_text(json.dumps(SOUND | change))
    with pytest.raises(UserError, match=message) as error:
        read_index(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_what_is_no_index_is_named(tmp_path):
    with pytest.raises(UserError, match=r"index.json: no such index"):
        read_index(tmp_path / "index.json")
    (tmp_path / "index.json").write_text('{"classnames": ["a')
    with pytest.raises(UserError, match=r"index.json: not JSON"):
        read_index(tmp_path / "index.json")
