"""SIGKILL of Snakemake, of a cell and what stands behind it, of the feature job, while they work: nothing is lost."""

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
ROUNDS = int(os.environ.get("FAULTS_ROUNDS", "1"))  # how often each is killed
TABLES = ("tables", "--rerun-incomplete")  # what comes after them is made of whole cells alone
# Who is killed, after the start of which job, and how many seconds later at most. Features first, while there are none.
FEATURES = [("features", "features", 1.5), ("snakemake", "features", 1.5)]
CELLS = [
    ("evaluate", "evaluate", 0.2),
    ("snakemake", "evaluate", 0.2),
    ("warm", "warm", 0.2),
    ("forks", "evaluate", 0.2),
]


def strike(run: study.Run, victim: str, job: str, seconds: float) -> bool:
    """Kill the victim some time after a job's start, or another's if that one was too quick; whether one was killed."""
    while process := run.job(job):
        time.sleep(seconds)
        if study.alive(process):
            others = [psutil.Process(run.process.pid)] if victim == "snakemake" else run.jobs(victim)
            study.kill(process if victim == job else [*others, process][0])
            return True
        seconds = 0
    return False


@pytest.mark.timeout(1500)  # with FAULTS_ROUNDS=3 some forty starts of Snakemake
def test_kills_change_nothing(snakefile: Path, finished_with_images: Path, tmp_path: Path) -> None:
    undisturbed = study.outcome(finished_with_images)
    folder = study.fill(tmp_path / "study", backbones=study.TINY | study.MINE)
    dice, runs, waiting = random.Random(SEED), [], FEATURES * ROUNDS + CELLS * ROUNDS
    print(f"seed {SEED}")
    try:
        while waiting:
            victim, job, longest = waiting[0]
            seconds = dice.uniform(0, longest)
            runs.append(study.Run(snakefile, folder, *TABLES))
            if strike(runs[-1], victim, job, seconds):
                print(f"{victim} killed, at most {seconds:.2f} s after the start of {job}")
                waiting.pop(0)
            if runs[-1].wait() == 0:  # too late, or it did without what was killed: everything is there
                print("and a run that ended well")
                assert study.outcome(folder) == undisturbed
                shutil.rmtree(folder / "results")
                if waiting and waiting[0] in FEATURES:
                    shutil.rmtree(folder / "features")
        study.finish(snakefile, folder, *TABLES)
    finally:
        for run in runs:
            run.end()
    assert study.outcome(folder) == undisturbed
    assert study.strays(folder) == []
