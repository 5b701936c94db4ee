"""Files are whole or not there."""

import json
import os
import stat

import pytest

from workflow.lib import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_under_its_name_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "x.npz"
    with files.atomic(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".npz"
        assert not target.exists()
    assert target.read_text() == "whole"
    assert names(target.parent) == ["x.npz"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "x.json"
    target.write_text("old")

    def write_half():
        with files.atomic(target) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["x.json"]


def test_a_new_file_has_the_rights_that_open_would_give_it(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "x", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_equal_values_are_equal_bytes(tmp_path):
    files.write_json(tmp_path / "a", {"b": 1, "a": "é"})
    files.write_json(tmp_path / "b", {"a": "é", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text("utf-8")) == {"a": "é", "b": 1}


def test_what_is_no_json_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a", {"loss": float("nan")})
    assert names(tmp_path) == []


def test_sha256_of_the_standards_example(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert files.sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
