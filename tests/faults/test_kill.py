"""SIGKILL of Snakemake, of a cell and what stands behind it, of the feature job, at random moments: nothing is lost."""

import os
import random
import shutil
import time
from pathlib import Path

import psutil
import pytest

from tests.faults import study

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FAULTS_SEED", "6"))
# Features first, while there are none.
VICTIMS = ["features", "snakemake"] * 4 + ["evaluate", "snakemake", "warm", "forks"] * 3
LONGEST = {
    "snakemake": 2.5,
    "features": 2.0,
    "evaluate": 0.2,
    "warm": 0.2,
    "forks": 0.5,
}  # seconds from its start to the latest kill


def strike(run: study.Run, victim: str, seconds: float) -> bool:
    """Kill the victim some time after its start, or one like it if that one was too quick; whether there was one."""
    while process := psutil.Process(run.process.pid) if victim == "snakemake" else run.job(victim):
        time.sleep(seconds)
        if study.alive(process):
            study.kill(process)
            return run.wait() != 0
        if victim == "snakemake":
            break
        seconds /= 2
    return False


@pytest.mark.timeout(1500)  # some forty starts of Snakemake, which a busy machine takes ten seconds each for
def test_20_kills_change_nothing(snakefile: Path, finished_with_images: Path, tmp_path: Path) -> None:
    undisturbed = study.outcome(finished_with_images)
    folder = study.fill(tmp_path / "study", backbones=study.TINY | study.MINE)
    dice, runs, waiting = random.Random(SEED), [], list(VICTIMS)
    print(f"seed {SEED}")
    try:
        while waiting:
            seconds = dice.uniform(0, LONGEST[waiting[0]])
            runs.append(study.Run(snakefile, folder, "--rerun-incomplete"))
            if strike(runs[-1], waiting[0], seconds):
                print(f"{waiting.pop(0)} killed, at most {seconds:.2f} s after its start")
            else:  # too late: everything is there
                print("and one that had ended before")
                assert runs[-1].wait() == 0, runs[-1].text()
                assert study.outcome(folder) == undisturbed
                shutil.rmtree(folder / "results")
                if waiting[0] == "features":
                    shutil.rmtree(folder / "features")
        study.finish(snakefile, folder, "--rerun-incomplete")
    finally:
        for run in runs:
            run.end()
    assert study.outcome(folder) == undisturbed
    assert study.strays(folder) == []
