"""A clock that jumps between two runs: what was made before then seems to come from the future, or from long ago."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults import study
from tests.faults.test_failed import CELL, change
from workflow.lib.evaluation import records

pytestmark = pytest.mark.slow
# As docs/troubleshooting.md has it.
TOUCH = "find data features results -newermt now -exec touch {} +"


def jump(folder: Path, hours: int) -> None:
    """The clock is moved by some hours: every file there is seems to be younger or older by as much."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink() and ".snakemake" not in path.parts:
            stat = path.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - hours * 3600 * 10**9))


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_jump_alone_runs_nothing_again(finished: Path, snakefile: Path, tmp_path: Path, hours: int) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    jump(folder, hours)
    assert "Nothing to be done" in study.finish(snakefile, folder)


def test_after_a_jump_back_snakemake_says_so_and_after_a_touch_it_goes_on(
    finished: Path, snakefile: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    change(folder, methods={"zero_shot": None, "means": {"sign": -1.0}})
    jump(folder, -1)
    text = study.fail(snakefile, folder, CELL)
    assert f"Output {CELL} has older modification time" in text
    (folder / "data").mkdir(exist_ok=True)
    subprocess.run(TOUCH, shell=True, cwd=folder, check=True)
    study.finish(snakefile, folder, CELL)
    assert records.read(folder / CELL)["variants"][0]["params"] == {"sign": -1.0}
    assert "Nothing to be done" in study.finish(snakefile, folder, CELL)
