"""Files are whole or not there."""

import errno
import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.jobs import orphans


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


# --- what killed writers leave ---------------------------------------------------------------------------------------

WRITER = """\
import sys, time
from workflow.lib import files
with files.atomic(sys.argv[1]) as path:
    path.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


@contextmanager
def writer(target):
    """Another process in the middle of writing `target`."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_next_write_removes_what_a_killed_writer_of_the_same_file_has_left(tmp_path):
    target, other = tmp_path / "a[1].json", tmp_path / "b.json"
    with writer(target) as first, writer(other) as second:
        first.kill(), first.wait()
        second.kill(), second.wait()
    assert len(names(tmp_path)) == 2
    files.write_text(target, "whole")
    assert [name for name in names(tmp_path) if "a[1]" in name] == ["a[1].json"]
    files.write_text(other, "whole")
    assert names(tmp_path) == ["a[1].json", "b.json"]


def test_a_writer_that_lives_keeps_its_temporary_file(tmp_path):
    target = tmp_path / "x.json"
    with writer(target):
        before = set(names(tmp_path))
        files.write_text(target, "whole")
        assert set(names(tmp_path)) == before | {"x.json"}


def test_where_the_disk_is_full_the_error_names_the_file_that_was_wanted(tmp_path):
    target = tmp_path / "x.json"
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.json'$"), files.atomic(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_an_error_of_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), files.atomic(tmp_path / "x.json"):
        (tmp_path / "elsewhere").read_text()


def test_the_job_of_a_snakemake_that_has_gone_writes_nothing(tmp_path, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    monkeypatch.setenv(orphans.VARIABLE, str(gone.pid))
    with pytest.raises(UserError, match="the Snakemake that started this job was killed"):
        files.write_text(tmp_path / "x.json", "old settings")
    assert names(tmp_path) == []
    monkeypatch.setenv(orphans.VARIABLE, str(os.getpid()))
    files.write_text(tmp_path / "x.json", "new settings")
