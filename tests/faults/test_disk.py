"""A full disk and a read-only one: one line that names the file and the reason, no half file; then it goes on."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.faults import study

pytestmark = pytest.mark.slow


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


class Disk:
    """A small file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        mount("-t", "tmpfs", "-o", "size=4M", "none", str(folder))

    def set(self, *options: str) -> None:
        mount("-o", f"remount,{','.join(options)}", str(self.folder))

    def fill(self, leave: int) -> None:
        """Take all of the space but some bytes."""
        with (self.folder / "ballast").open("ab", buffering=0) as file:
            with suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            file.truncate(file.tell() - leave)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return study.fill(tmp_path / "study")


@pytest.fixture
def disk(folder: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A disk of its own for a folder of the study."""
    try:
        made = Disk(folder / request.param)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"NOT TESTED: full and read-only disks; mounting a tmpfs is not permitted here: {error}")
    yield made
    subprocess.run(["umount", "--lazy", str(made.folder)], check=True)


def said(text: str) -> list[str]:
    """The lines of errors: one for each job that failed."""
    assert "Traceback" not in text, text
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert lines, text
    return lines


def whole(folder: Path, undisturbed: dict[str, Any]) -> bool:
    """Whether every file that is there is as it should be: none is half."""
    there = study.outcome(folder)
    return all(undisturbed[name] == content for name, content in there.items() if not name.endswith("ballast"))


@pytest.mark.parametrize(
    ("disk", "leaves", "file"),
    [
        ("features", [0], r"features/mine/photos\.safetensors"),
        ("results", [8 * 4096, 0], r"results/faults/\S+"),  # some files fit, then not even a log does
    ],
    indirect=["disk"],
)
def test_a_full_disk(
    disk: Disk, leaves: list[int], file: str, folder: Path, snakefile: Path, undisturbed: dict[str, Any]
) -> None:
    for leave in leaves:
        disk.fill(leave)
        text = study.fail(snakefile, folder)
        assert all(re.match(rf"error: {file}: .*No space left on device", line) for line in said(text))
        assert "completed successfully" not in text
        assert whole(folder, undisturbed)
        assert study.strays(folder) == []
    disk.set("size=64M")
    study.finish(snakefile, folder, "tables")
    (disk.folder / "ballast").unlink()
    assert study.up_to_tables(study.outcome(folder)) == study.up_to_tables(undisturbed)


@pytest.mark.parametrize("disk", ["results"], indirect=True)
def test_a_read_only_results_folder(disk: Disk, folder: Path, snakefile: Path, undisturbed: dict[str, Any]) -> None:
    disk.set("ro")
    (line,) = said(study.fail(snakefile, folder))
    assert re.fullmatch(r"error: results/faults/\S+: Read-only file system", line)
    assert not (folder / "features").exists(), "nothing was started"
    disk.set("rw")
    study.finish(snakefile, folder, "tables")
    disk.set("ro")
    assert study.up_to_tables(study.outcome(folder)) == study.up_to_tables(undisturbed)
    assert "Nothing to be done" in study.finish(snakefile, folder, "tables")
