"""The file of a classifier: read as it was written, and refused in one line where it is anything else."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.shipping.conftest import Shipped
from workflow.lib.errors import UserError
from workflow.lib.shipping import classifier as classifiers
from workflow.lib.shipping.classifier import checksum, read, write
from workflow.lib.shipping.names import CLASSIFIER as FILE


def test_what_is_read_is_what_was_written(shipped: Shipped) -> None:
    found = read(shipped.folder)
    x = shipped.features.splits["test"].x[:]
    assert np.array_equal(found.program(x), shipped.classifier.program(x))
    assert np.array_equal(found.distances(x), shipped.classifier.distances(x))
    assert found.about == json.loads(json.dumps({**shipped.classifier.about, "format": 1}))


def test_equal_classifiers_are_equal_bytes(shipped: Shipped, tmp_path: Path) -> None:
    write(tmp_path / FILE, read(shipped.folder))
    assert (tmp_path / FILE).read_bytes() == (shipped.folder / FILE).read_bytes()


def told(path: Path) -> dict[str, Any]:
    """The JSON in a file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return dict(json.loads(file.metadata()["classifier"]))


def rewritten(shipped: Shipped, path: Path, about: dict[str, Any], arrays: dict[str, Any], sign: bool = True) -> Path:
    """The classifier with another content, with a checksum that fits it if `sign`."""
    about.pop("sha256", None)
    text = json.dumps({**about, "sha256": checksum(about, arrays) if sign else "0" * 64})
    save_file(arrays, path, {"classifier": text})
    return path


@pytest.mark.parametrize("keep", [0, 7, 200, 0.5, -1])
def test_a_file_cut_short_is_refused(shipped: Shipped, tmp_path: Path, keep: float) -> None:
    whole = (shipped.folder / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(UserError, match="not a safetensors file, or cut short"):
        read(tmp_path)


def test_a_changed_byte_anywhere_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    whole = bytearray((shipped.folder / FILE).read_bytes())
    rng = np.random.default_rng(0)
    for at in [9, *rng.integers(8, len(whole), size=40).tolist()]:
        changed = bytearray(whole)
        changed[at] ^= 0x15
        (tmp_path / FILE).write_bytes(changed)
        with pytest.raises(UserError, match=str(tmp_path / FILE)):
            read(tmp_path)


def test_a_changed_array_or_text_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    about, arrays = told(shipped.folder / FILE), load_file(shipped.folder / FILE)
    rewritten(shipped, tmp_path / FILE, about | {"classes": ["a", "b", "c"]}, arrays, sign=False)
    with pytest.raises(UserError, match="changed or damaged: its content does not match its checksum; ship it again"):
        read(tmp_path)


def test_an_operation_that_is_none_is_refused_whoever_signed_it(shipped: Shipped, tmp_path: Path) -> None:
    about, arrays = told(shipped.folder / FILE), load_file(shipped.folder / FILE)
    about["program"] = {"steps": [["y", "os.system", "x"]], "output": "y"}
    with pytest.raises(UserError, match=r"program: no operation 'os.system'"):
        read(rewritten(shipped, tmp_path / FILE, about, arrays))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"classes": "abc"}, "classes: missing, or not of its kind"),
        ({"temperature": "1"}, "temperature: missing, or not of its kind"),
        ({"program": {}}, "program: "),
        ({"program": {"steps": [["y"]], "output": "y"}}, "program: "),
        ({"program": {"steps": 3, "output": "y"}}, "program: "),
        ({"format": 2}, "tower: missing, or not of its kind"),
        ({"format": 3}, "not a shipped classifier of format 1 or 2"),
    ],
)
def test_a_file_that_lacks_something_is_refused(
    shipped: Shipped, tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    about, arrays = told(shipped.folder / FILE), load_file(shipped.folder / FILE)
    with pytest.raises(UserError, match=line):
        read(rewritten(shipped, tmp_path / FILE, about | change, arrays))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such classifier; allowed: a folder that `snakemake ship` made"):
        read(tmp_path)
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / FILE)
    with pytest.raises(UserError, match="not a shipped classifier of format 1 or 2"):
        read(tmp_path)


class Bomb:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('a classifier was run')",))


def test_reading_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not a safetensors file"):
        read(tmp_path)


def test_a_disk_that_is_full_leaves_nothing(shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(classifiers, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / FILE, replace(shipped.classifier))
    assert list(tmp_path.iterdir()) == []
