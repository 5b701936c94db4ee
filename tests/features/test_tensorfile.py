"""Tensors in blocks: any rows are read, nothing else is, and damage is seen by whoever would have used it."""

import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from workflow.lib.errors import UserError
from workflow.lib.features import blocks, tensorfile
from workflow.lib.features.blocks import BLOCK
from workflow.lib.features.tensorfile import TensorFile

DIM = 512
HEIGHT = BLOCK // (4 * DIM)  # rows in a block
ROWS = 37 * HEIGHT + 3
REMEDY = "does not match its checksum; delete it, and the next run makes it anew"


@pytest.fixture(scope="module")
def tensors():
    rng = np.random.default_rng(0)
    return {
        "name": np.frombuffer("ä\0b\0".encode(), np.uint8),
        "x": rng.standard_normal((ROWS, DIM), np.float32),
        "y": rng.integers(0, 9, 5000),
        "deep": rng.standard_normal((5, 3, 2 * DIM), np.float32),
        "wide": rng.standard_normal((2, BLOCK), np.float32),  # a row is more than a block
        "none": np.empty((0, 4), np.float32),
        "scale": np.array(7.5, np.float32),
    }


@pytest.fixture
def path(tensors, tmp_path):
    tensorfile.write(tmp_path / "made", tensors, {"of": "numbers"})
    return tmp_path / "made"


@pytest.fixture
def counted(monkeypatch):
    """The sizes of all reads."""
    sizes, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *call: sizes.append(call[1]) or pread(*call))
    return sizes


def test_all_tensors_are_read_back(path, tensors):
    found = TensorFile(path)
    assert found.metadata == {"of": "numbers"}
    for name, expected in tensors.items():
        array = np.asarray(found[name])
        assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("piece", [lambda size: min(size, 1001), lambda size: max(1, size - 1)])
def test_what_the_system_gives_in_pieces_is_put_together(path, tensors, monkeypatch, piece):
    """However few bytes are left for the last one."""
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, offset: pread(file, piece(size), offset))
    found = TensorFile(path)
    for name, expected in tensors.items():
        np.testing.assert_array_equal(np.asarray(found[name]), expected)


INDICES = {
    "slice": slice(5, 290),
    "slice within a block": slice(9, 11),
    "slice of no row": slice(20, 20),
    "slice to the end": slice(-20, None),
    "slice past the end": slice(290, 10**6),
    "steps": slice(290, 5, -7),
    "everything": slice(None),
    "list": [0, ROWS - 1, 7, 7, 200],
    "negative": np.array([-1, 0, -ROWS]),
    "mask": np.arange(ROWS) % 5 == 0,
    "table": np.array([[1, 2], [298, 1]]),
    "nothing": np.arange(0),
    "shuffled": np.random.default_rng(1).permutation(ROWS),
    "one": 12,
}


@pytest.mark.parametrize("rows", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("at_once", [1, 3, 256])
def test_any_rows_are_those_of_the_array(path, tensors, rows, at_once, monkeypatch):
    monkeypatch.setattr(blocks, "AT_ONCE", at_once * BLOCK)
    np.testing.assert_array_equal(TensorFile(path)["x"][rows], tensors["x"][rows])


def test_rows_that_are_not_there_are_an_index_error(path):
    with pytest.raises(IndexError):
        TensorFile(path)["x"][[ROWS]]


def test_the_bytes_do_not_depend_on_the_pieces_in_which_rows_come(path, tensors, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "AT_ONCE", 2 * BLOCK)
    tensorfile.write(tmp_path / "other", tensors, {"of": "numbers"})
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_only_the_blocks_of_the_rows_are_read(path, counted):
    found = TensorFile(path)["x"]
    assert sum(counted) < 2**14  # the header and the checksums
    counted.clear()
    found[[0, 20 * HEIGHT, 20 * HEIGHT + 1, 21 * HEIGHT]]
    assert counted == [BLOCK, 2 * BLOCK]


# --- damage ----------------------------------------------------------------------------------------------------------


def flip(path, place):
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


def place_of(path, tensors, name, row):
    """Where the bytes of a row of a tensor begin."""
    start = path.read_bytes().index(np.ascontiguousarray(tensors[name][row]).tobytes())
    assert start % tensors[name].dtype.itemsize == 0
    return start


def test_a_flipped_bit_is_seen_where_its_rows_are_read_and_nowhere_else(path, tensors):
    row = 3 * HEIGHT + 1
    flip(path, place_of(path, tensors, "x", row) + 77)
    found = TensorFile(path)
    for rows in ([row], slice(None), [0, 4 * HEIGHT - 1]):
        with pytest.raises(UserError) as error:
            found["x"][rows]
        assert str(error.value) == f"{path}: damaged: x, rows {3 * HEIGHT} to {4 * HEIGHT - 1}, {REMEDY}"
    good = [0, 3 * HEIGHT - 1, 4 * HEIGHT, ROWS - 1]
    np.testing.assert_array_equal(found["x"][good], tensors["x"][good])
    np.testing.assert_array_equal(found["y"][:], tensors["y"])


def test_there_is_a_sha256_of_every_16_kib():
    """As the pages say; a file that has been written must stay readable."""
    data = np.random.default_rng(0).bytes(40 * 1024)
    expected = [hashlib.sha256(data[start : start + 16384]).digest() for start in (0, 16384, 32768)]
    assert blocks.Blocks((len(data),), np.dtype(np.uint8)).sums(data) == expected
    assert blocks.Blocks((40, 256), np.dtype(np.float32)).sums(data) == expected


@pytest.mark.parametrize("name", ["y", "deep", "wide", "name"])
def test_every_tensor_has_checksums(path, tensors, name):
    start = place_of(path, tensors, name, slice(None))
    flip(path, start + tensors[name].nbytes - 1)
    with pytest.raises(UserError, match=f"damaged: {name}, rows"):
        np.asarray(TensorFile(path)[name])


def test_no_flipped_bit_anywhere_goes_unseen(path, tensors):
    """One in each of 300 places: opening the file, or reading all of it, raises the one-line error."""
    content = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(content), 300).tolist() + list(range(0, 300, 7)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"damaged|not a safetensors file|not a features file") as error:
            _ = [np.asarray(TensorFile(path)[name]) for name in tensors]
        assert str(error.value).startswith(f"{path}: ")
        assert "delete it, and the next run makes it anew" in str(error.value)


@pytest.mark.parametrize("left", [0, 7, 100, 5000, -BLOCK, -1])
def test_a_file_cut_short_is_not_opened(path, left):
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(UserError, match=r"cut short .*delete it, and the next run makes it anew"):
        TensorFile(path)


def test_a_file_that_is_cut_short_while_it_is_open_ends_in_the_error(path):
    found = TensorFile(path)["x"]
    os.truncate(path, 20 * BLOCK)
    with pytest.raises(UserError, match="cut short while it was read; delete it"):
        found[[ROWS - 1]]


def test_a_file_that_is_replaced_while_it_is_open_is_read_as_it_was(path, tensors):
    found = TensorFile(path)["x"]
    tensorfile.write(path, {"x": tensors["x"] + 1}, {})
    np.testing.assert_array_equal(found[:], tensors["x"])
    np.testing.assert_array_equal(TensorFile(path)["x"][:], tensors["x"] + 1)


def test_threads_may_read_side_by_side(path, tensors):
    found, wrong = TensorFile(path)["x"], []

    def work(seed):
        for rows in np.random.default_rng(seed).integers(0, ROWS, (30, 20)):
            wrong.extend([rows] if not np.array_equal(found[rows], tensors["x"][rows]) else [])

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
    _ = [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert wrong == []


def test_a_value_that_is_not_finite_is_not_written_and_its_row_is_named(tensors, tmp_path):
    spoilt = tensors["x"].copy()
    spoilt[ROWS - 2, 5] = np.inf
    with pytest.raises(UserError, match=f"made: x has NaN or infinite values, first in row {ROWS - 2}"):
        tensorfile.write(tmp_path / "made", {"x": spoilt}, {})
    assert not list(tmp_path.iterdir())


# --- memory ----------------------------------------------------------------------------------------------------------

LARGE = 150_000  # rows: 300 MB
ALLOWED = 120 * 2**20  # bytes above what the imports take
PROGRAM = f"""
import resource
import numpy as np
from workflow.lib.features import tensorfile
from workflow.lib.features.tensorfile import TensorFile

class Made:
    shape, dtype = ({LARGE}, {DIM}), np.dtype(np.float32)
    def __len__(self):
        return {LARGE}
    def __getitem__(self, rows):
        return np.arange(rows.start, min(rows.stop, {LARGE}), dtype=np.float32)[:, None] + np.zeros({DIM}, np.float32)

used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + {ALLOWED}, used + {ALLOWED}))
try:
    np.ones(({LARGE}, {DIM}), np.float32)
except MemoryError:
    print("the whole does not fit")
tensorfile.write("made", {{"x": Made()}}, {{}})
rows = np.random.default_rng(0).permutation({LARGE})[:10_000]
assert (TensorFile("made")["x"][rows][:, 3] == rows).all()
print("written and read")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit holds for arrays on Linux alone")
def test_a_tensor_larger_than_the_memory_is_written_and_rows_of_it_are_read(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n") == ["the whole does not fit", "written and read", ""], done.stderr
