"""Where memory runs out, fewer replicas go at a time; the results are those of all at once."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from methods.contract.base import Array, Candidate, Method, Replica, Task
from tests.evaluation.test_cell import PLAIN, Means, bench
from tests.studies import ROOT
from workflow.lib.errors import UserError
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation.protocol import Judge, Outcome
from workflow.lib.features import store as features_files
from workflow.lib.features.store import Features

GIGABYTE = 2**30


class Greedy(Method):
    """Class means, but for no more than `most` replicas at a time; the others meet a memory that is full."""

    name = "greedy"

    def __init__(self, most: int, when: str = "training") -> None:
        self.most, self.when = most, when
        self.parts: list[list[int]] = []

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        self.parts.append([replica.seed for replica in replicas])
        classifiers = [Means().classifier(task, replica) for replica in replicas]

        def logits(queries: Array) -> Array:
            self._ask("scoring", replicas)
            return np.stack([classify(queries) for classify in classifiers])

        yield Candidate(replicas, logits, {"epoch": 1})
        self._ask("training", replicas)
        yield Candidate(replicas, logits, {"epoch": 2})

    def _ask(self, when: str, replicas: Sequence[Replica]) -> None:
        if when == self.when and len(replicas) > self.most:
            raise MemoryError("Unable to allocate 7.00 TiB")


@pytest.mark.parametrize("when", ["training", "scoring"])
def test_replicas_are_halved_until_they_fit_and_give_the_same(features: Features, when: str) -> None:
    whole, method = Greedy(9), Greedy(1, when)
    expected, found = (cells.evaluate(bench(features, seeds=3), one)[0].outcomes for one in (whole, method))
    assert (whole.parts, method.parts) == ([[0, 1, 2]], [[0, 1, 2], [0, 1], [0], [1], [2]])
    for seed in range(3):
        assert found[seed].curve == expected[seed].curve
        assert found[seed].points == [{"epoch": 1}, {"epoch": 2}]
        assert np.array_equal(found[seed].choices["last"].final(), expected[seed].choices["last"].final())


def test_what_a_half_has_found_has_left_the_device_when_the_next_begins(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, kept = bench(features, seeds=4, select="val_full", calibrate={"held_out": "val"}), list[Outcome]()
    where: list[set[type]] = []

    class OnDevice(Greedy):
        def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
            done = [choice for outcome in kept for choice in outcome.choices.values() if len(outcome.points) == 2]
            where.append({type(array) for choice in done for array in (choice.logits, choice.held)})
            for candidate in super().fit(task, replicas):
                yield replace(candidate, logits=lambda x, one=candidate: torch.from_numpy(one.logits(x)))

    outcome = Judge.outcome
    monkeypatch.setattr(Judge, "outcome", lambda judge: kept.append(outcome(judge)) or kept[-1])
    cells.evaluate(made, OnDevice(1))
    assert where == [set(), set(), set(), {np.ndarray}, {np.ndarray}, {np.ndarray}, {np.ndarray}]


def test_what_is_done_is_said(features: Features) -> None:
    said: list[str] = []
    made = bench(features, seeds=2)
    made.log = said.append
    cells.evaluate(made, Greedy(1))
    assert said == ["out of memory with 2 trainings at a time, going on with 1 (Unable to allocate 7.00 TiB)"]


def test_one_replica_too_many_is_one_line(features: Features) -> None:
    with pytest.raises(UserError) as raised:
        cells.evaluate(bench(features, variants=PLAIN), Greedy(0))
    assert str(raised.value) == (
        "memory runs out even with variant '-', seed 0 alone on cpu: Unable to allocate 7.00 TiB; run fewer cells at a "
        "time (--cores), or on a cluster give each more (mem_mb)"
    )


def test_other_errors_are_no_lack_of_memory(features: Features) -> None:
    class Broken(Greedy):
        def _ask(self, when: str, replicas: Sequence[Replica]) -> None:
            raise ValueError("the seventh lemma")

    method = Broken(1)
    with pytest.raises(ValueError, match="the seventh lemma"):
        cells.evaluate(bench(features), method)
    assert len(method.parts) == 1


PLUGIN = """
import numpy as np

from methods import Candidate, Method, hookimpl
from methods.zero_shot import ZeroShot


class Hungry(Method):
    name = "hungry"

    def fit(self, task, replicas):
        held = np.empty((len(replicas), {each}), np.uint8)
        for replica in replicas:
            yield Candidate.of(replica, ZeroShot().classifier(task, replica))
        del held


@hookimpl
def register_methods():
    return [Hungry]
"""


@pytest.mark.parametrize(("each", "status"), [(GIGABYTE, 0), (8 * GIGABYTE, 1)])
def test_a_real_limit(features: Features, tmp_path: Path, each: int, status: int) -> None:
    """Four replicas of 1 GB in 3 GB of address space: in pairs. Of 8 GB: one line."""
    features_files.write(tmp_path / "made.safetensors", features)
    (tmp_path / "hungry.py").write_text(PLUGIN.format(each=each))
    cell = {"study": "trial", "dataset": "made", "backbone": "mine", "label": "hungry", "method": "hungry"}
    spec = json.dumps(cell | {"shots": "1", "seeds": 4, "report": "test", "select": "last", "variants": PLAIN})
    command = [sys.executable, "-m", "workflow.scripts.evaluate", "--spec", spec, "--features", "made.safetensors"]
    command += ["--plugin", "hungry.py", "--metrics", "out.json", "--predictions", "out.npz"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * GIGABYTE, 3 * GIGABYTE)),
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert (tmp_path / "out.json").exists() is (status == 0)
    assert "out of memory with 4 trainings at a time, going on with 2 (" in done.stdout
    if status:
        assert done.stderr.startswith("error: memory runs out even with variant '-', seed 0 alone on cpu: ")
        assert len(done.stderr.splitlines()) == 1
