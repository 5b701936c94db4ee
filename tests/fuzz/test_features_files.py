"""Features files, safetensors and npz: what is read is what was written, or one line that names the file."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy

from tests.fuzz.corpus import TEXTS, TRAPS, damaged, json_text, mutated, outcome
from tests.samples import make_features
from workflow.lib.errors import UserError
from workflow.lib.features import npz as from_npz
from workflow.lib.features import store, tensorfile
from workflow.lib.features.store import Features, Split

SMALL = make_features(classes=2, dim=3)
METADATA = {
    "format": tensorfile.FORMAT,
    "classnames": ["class 0", "class 1"],
    "views": {"count": 2},
}


def sound(found: Features) -> None:
    """What every reader of features may rely on."""
    classes = len(found.classnames)
    widths = {split.x.shape[1] for split in found.splits.values()}
    for split in found.splits.values():
        assert (split.x.dtype, split.y.dtype) == (np.float32, np.int64)
        assert np.isfinite(split.x).all()
        assert len(split.x) == len(split.y) > 0
        assert ((split.y >= 0) & (split.y < classes)).all()
    if found.text is not None:
        assert np.isfinite(found.text).all()
        assert (len(found.text), {found.text.shape[2]}) == (classes, widths)
    assert np.isfinite(found.logit_scale)
    assert found.logit_scale > 0


def same(a: Features, b: Features) -> bool:
    return all(
        np.array_equal(a.splits[name].x, b.splits[name].x) and np.array_equal(a.splits[name].y, b.splits[name].y)
        for name in a.splits
    ) and (a.classnames, a.logit_scale, list(a.splits)) == (b.classnames, b.logit_scale, list(b.splits))


# --- safetensors -------------------------------------------------------------------------------------------------


def safetensors(path: Path) -> bytes:
    views = np.ones((len(SMALL.splits["train"].y), 2, 3), np.float32)
    files = {name: [f"{name}/{i}.png" for i in range(len(split.y))] for name, split in SMALL.splits.items()}
    store.write(path, replace(SMALL, train_views=views, files=files))
    return path.read_bytes()


def with_header(content: bytes, header: Any) -> bytes:
    """A safetensors file with another header over the same numbers, and the checksum that belongs to it."""
    (size,) = struct.unpack("<Q", content[:8])
    new = header if isinstance(header, bytes) else json_text(header)
    new = struct.pack("<Q", len(new)) + new
    (blocks, width) = header_of(content)["block_sha256"]["shape"]
    sums = content[-width * (blocks + 1) : -width]
    return new + content[8 + size : -width] + hashlib.sha256(new + sums).digest()


def header_of(content: bytes) -> dict[str, Any]:
    (size,) = struct.unpack("<Q", content[:8])
    return dict(json.loads(content[8 : 8 + size]))


def check(path: Path, content: bytes) -> Features | None:
    """Read the file as jobs do: whole, and some splits of it."""
    path.write_bytes(content)
    found = outcome(lambda: loaded(path), path)
    if found is not None:
        sound(found)
    outcome(lambda: loaded(path, ["train", "test"]), path)
    return found


def loaded(path: Path, splits: list[str] | None = None) -> Features:
    """All that a job may take of the file."""
    read = store.read(path, splits)
    found = {name: Split(np.asarray(split.x), split.y) for name, split in read.splits.items()}
    views = None if read.train_views is None else np.asarray(read.train_views)
    listed = {name: list(read.files[name]) for name in read.files}
    return replace(read, splits=found, train_views=views, files=listed)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return safetensors(tmp_path_factory.mktemp("right") / "f.safetensors")


def test_the_right_one_is_read_as_it_was_written(tmp_path: Path, right: bytes) -> None:
    found = check(tmp_path / "f.safetensors", right)
    assert found is not None
    assert same(found, SMALL)


@given(data=st.data())
def test_damaged_bytes(tmp_path: Path, right: bytes, data: st.DataObject) -> None:
    """What is still read is what was written."""
    found = check(tmp_path / "f.safetensors", data.draw(damaged(right)))
    assert found is None or same(found, SMALL)


@given(data=st.data())
def test_a_header_that_says_something_else(tmp_path: Path, right: bytes, data: st.DataObject) -> None:
    check(tmp_path / "f.safetensors", with_header(right, data.draw(mutated(header_of(right)))))


@given(value=mutated(METADATA))
def test_metadata_of_another_shape(tmp_path: Path, right: bytes, value: Any) -> None:
    header = header_of(right) | {"__metadata__": {"features": json.dumps(value)}}
    check(tmp_path / "f.safetensors", with_header(right, header))


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_features_file(tmp_path: Path, right: bytes, content: bytes) -> None:
    path = tmp_path / "f.safetensors"
    assert check(path, content) is None
    assert check(path, struct.pack("<Q", len(content)) + content) is None
    assert (
        check(path, with_header(right, header_of(right) | {"__metadata__": {"features": content.decode("latin-1")}}))
        is None
    )


@pytest.mark.parametrize("dtype", ["F64", "F16", "BF16", "F8_E4M3", "I8", "U64", "BOOL", "C64", "X", "I64"])
def test_another_type_over_the_same_bytes(tmp_path: Path, right: bytes, dtype: str) -> None:
    header = header_of(right)
    for key in ("train_x", "train_y", "logit_scale"):
        check(tmp_path / "f.safetensors", with_header(right, header | {key: header[key] | {"dtype": dtype}}))


# --- npz ---------------------------------------------------------------------------------------------------------


def arrays() -> dict[str, Any]:
    text = SMALL.text
    assert text is not None
    splits = {f"{n}_{part}": getattr(split, part) for n, split in SMALL.splits.items() for part in "xy"}
    return {**splits, "classnames": np.array(SMALL.classnames), "text_x": text[:, 0], "logit_scale": np.array(50.0)}


def npz(changes: dict[str, Any] | None = None, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **(arrays() | (changes or {})))
    return file.getvalue()


def members(**content: bytes) -> bytes:
    """An npz file whose arrays are these bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in content.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def check_npz(path: Path, content: bytes) -> Features | None:
    path.write_bytes(content)
    found = outcome(lambda: from_npz.read_npz(path), path)
    if found is not None:
        sound(found)
    return found


@pytest.mark.parametrize("compressed", [False, True])
def test_the_right_npz_is_read_as_it_was_written(tmp_path: Path, compressed: bool) -> None:
    found = check_npz(tmp_path / "f.npz", npz(compressed=compressed))
    assert found is not None
    assert same(found, SMALL)


@given(content=damaged(npz()) | damaged(npz(compressed=True)))
def test_damaged_npz_bytes(tmp_path: Path, content: bytes) -> None:
    """A zip has checksums: what is still read is what was written."""
    found = check_npz(tmp_path / "f.npz", content)
    assert found is None or same(found, SMALL)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_npz(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.npz"
    assert check_npz(path, content) is None
    assert check_npz(path, content + npz()[-22:]) is None
    assert check_npz(path, members(classnames=content)) is None


ODD = [
    np.zeros(()),
    np.zeros((0, 3), np.float32),
    np.zeros((24, 0), np.float32),
    np.zeros((24, 3, 1), np.float32),
    np.full((24, 3), np.nan),
    np.full((24, 3), 1e300),
    np.zeros((24, 3), np.complex64),
    np.zeros((24, 3), np.int64),
    np.arange(24),
    np.full(24, -1),
    np.full(24, 2**63, np.uint64),
    np.zeros(24, bool),
    np.array(["1"] * 24),
    np.array([b"ant", b"bee"]),
    np.array(["ant", ""]),
    np.array(["ant", "ant"]),
    np.array(["a\nb", "</script>"]),
    np.array([["ant"], ["bee"]]),
    np.array(["2020-01-01"] * 2, "datetime64[D]"),
    np.zeros(2, [("a", "f4"), ("b", "i8")]),
    np.array(-1.0),
    np.array(0),
    np.array(np.inf),
    np.array([50.0, 50.0]),
    np.float16(50),
]


@given(name=st.sampled_from(from_npz.NAMES), value=st.sampled_from(ODD))
def test_an_array_of_another_type_or_shape(tmp_path: Path, name: str, value: Any) -> None:
    check_npz(tmp_path / "f.npz", npz({name: value}))


@given(names=st.lists(st.sampled_from(TEXTS).filter(lambda text: text.isprintable()), min_size=2, max_size=2))
def test_class_names_are_kept_as_they_are(tmp_path: Path, names: list[str]) -> None:
    found = check_npz(tmp_path / "f.npz", npz({"classnames": np.array(names)}))
    assert found is None or list(found.classnames) == names


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", from_npz.NAMES)
def test_nothing_is_ever_unpickled(tmp_path: Path, name: str) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / "f.npz"
    assert check_npz(path, npz({name: np.array([Trap(sprung)], dtype=object)})) is None
    with pytest.raises(UserError, match=f"{name} is an array of Python objects, which is never unpickled"):
        from_npz.read_npz(path)
    bare = pickle.dumps(Trap(sprung))
    assert check_npz(path, bare) is None
    assert check_npz(path, bare + npz()[-22:]) is None  # ends as a zip does
    assert check_npz(path, members(**{name: bare})) is None
    assert not sprung.exists()


def header(shape: str, descr: str = "'<f4'") -> bytes:
    """The start of an array that says it is of that shape."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return npy.magic(1, 0) + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        ("(1000000000000, 512)", "'<f4'"),
        ("(-1, 3)", "'<f4'"),
        ("(10**99,)", "'<f4'"),
        (f"({2**62}, {2**62})", "'<f4'"),
        ("(True, 3)", "'<f4'"),
        ("3", "'<f4'"),
        ("(" * 200 + ")" * 200, "'<f4'"),
        ("__import__('os').system('touch sprung')", "'<f4'"),
        ("(2,)", "'|V0'"),
        ("(1000000000000,)", "'<U0'"),
        ("(2,)", "'|O'"),
        ("(2,)", "[('a', '|O')]"),
        ("(2,)", "'no type'"),
        ("(2,)", "7"),
    ],
)
def test_a_header_that_promises_too_much_or_nonsense(tmp_path: Path, shape: str, descr: str) -> None:
    for name in ("train_x", "classnames", "logit_scale"):
        content = {key: as_npy(value) for key, value in arrays().items()} | {name: header(shape, descr) + bytes(64)}
        assert check_npz(tmp_path / "f.npz", members(**content)) is None


def as_npy(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def test_members_that_are_packed_in_other_ways(tmp_path: Path) -> None:
    """Encrypted by its flag, an unknown compression, one name twice, a name that leads elsewhere."""
    content = npz()
    flagged = content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    unknown = content.replace(b"\x00\x00\x00\x00PK", b"\x63\x00\x00\x00PK")
    for one in (flagged, unknown, members(**{"../train_x": b"x"})):
        check_npz(tmp_path / "f.npz", one)


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    assert outcome(lambda: from_npz.read_npz(tmp_path), tmp_path) is None
    assert outcome(lambda: store.read(tmp_path), tmp_path) is None
