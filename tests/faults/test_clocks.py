"""A clock that jumps between two runs: what was made before then seems to come from the future, or from long ago."""

import os
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
def test_a_jump_alone_runs_nothing_again(copy: Path, snakefile: Path, hours: int) -> None:
    jump(copy, hours)
    assert "Nothing to be done" in study.finish(snakefile, copy)


def test_after_a_jump_back_snakemake_says_so_and_after_a_touch_it_goes_on(copy: Path, snakefile: Path) -> None:
    change(copy, methods={"zero_shot": None, "means": {"sign": -1.0}})
    jump(copy, -1)
    text = study.fail(snakefile, copy, CELL)
    assert f"Output {CELL} has older modification time" in text
    (copy / "data").mkdir(exist_ok=True)
    subprocess.run(TOUCH, shell=True, cwd=copy, check=True)
    study.finish(snakefile, copy, CELL)
    assert records.read(copy / CELL)["variants"][0]["params"] == {"sign": -1.0}
    assert "Nothing to be done" in study.finish(snakefile, copy, CELL)
