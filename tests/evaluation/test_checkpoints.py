"""A cell that is killed while it trains goes on from its last checkpoint, and nobody sees that it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods import Array, Method, Params, Recipe, Replica, Task, unit
from methods.attention_probe import AttentionProbe
from methods.clip_adapter import ClipAdapter
from methods.cross_modal import CrossModal
from methods.last_block import LastBlock
from methods.linear_probe import LinearProbe
from methods.taskres import TaskResidual
from methods.tools.stand_in import MadeEncoder
from methods.two_stage import TwoStage
from tests.samples import make_features, without
from tests.studies import ROOT
from workflow.lib.engine import checkpoints
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.evaluation.cross_validation import HeldOut
from workflow.lib.evaluation.protocol import Choice, Outcome
from workflow.lib.features import store

FEATURES = make_features()
PLAIN = Choice, Outcome, HeldOut


class Noisy(LinearProbe):
    """All that draws random numbers or keeps something between two steps, in a module that the engine has to call."""

    name = "noisy"

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        chain = nn.Sequential(nn.LayerNorm(task.dim), nn.Dropout(0.3), nn.Linear(task.dim, task.classes))
        return {"classifier": nn.ModuleDict({"chain": chain})["chain"], "drop": nn.Dropout(0.2)}

    def logits(self, head: Any, x: Array) -> Array:
        return head.classifier(head.drop(x))

    def vjp(self, head: Any, x: Array) -> None:
        return None

    def recipe(self, task: Task, params: Params) -> Recipe:
        return replace(super().recipe(task, params), ema=0.9, mixup=0.2, optimizer="sgd", momentum=0.9, lr=0.1)


class Killed(BaseException):
    """What a test has in place of a signal."""


class Dying(checkpoints.Checkpoints):
    """Checkpoints at every chance, of a cell that dies right after one of them."""

    def __init__(self, path: Path, after: int, said: list[str] | None = None) -> None:
        log = (said if said is not None else []).append
        super().__init__(path, "this cell", PLAIN, log, seconds=0.0)
        self._cost, self._left = 0.0, after

    def at(self, step: int, state: Any) -> None:
        self._last = -np.inf
        self._left -= 1
        if self._left < 2:  # the last two of them, for the second is to take the place of the first
            super().at(step, state)
        if self._left == 0:
            raise Killed


def cell(method: Method, shots: str, select: str, **params: Any) -> Cell:
    settings = type(method).defaults(params) | params
    variants = [{"variant": str(lr), "params": settings | {"lr": lr}} for lr in (1e-2, 3e-2)]
    return Cell("trial", "shapes", "tiny", method.name, method.name, shots, 2, "test", select, variants, curve=3)


def computed(asked: Cell, method: Method, kept: checkpoints.Checkpoints | None = None) -> list[cells.Result]:
    names = list(map(str, range(len(FEATURES.classnames))))
    tower = MadeEncoder(unit(FEATURES.class_text()), names)
    bench = Bench(asked, FEATURES, "cpu", 1, lambda line: None, encoder=tower)
    with checkpoints.kept(kept):
        return cells.evaluate(bench, method)


def told(results: list[cells.Result]) -> list[Any]:
    """All of the results but times."""
    found = []
    for result in results:
        for seed, outcome in result.outcomes.items():
            choices = {
                regime: (choice.point, choice.score, choice.number, choice.final().tolist())
                for regime, choice in outcome.choices.items()
            }
            found.append((result.variant, seed, outcome.points, outcome.curve, outcome.notes, choices))
    return found


METHODS = {
    "compiled, with BatchNorm": (LinearProbe(), {"batch_norm": True, "epochs": 6, "batch_size": 4}),
    "compiled, attention": (AttentionProbe(), {"post_norm": True, "epochs": 6, "batch_size": 4}),
    "of two shapes": (ClipAdapter(), {"epochs": 6, "batch_size": 4}),
    "step by step": (TaskResidual(), {"epochs": 6, "batch_size": 4}),
    "with all that is random": (Noisy(), {"epochs": 6, "batch_size": 4}),
    "in two stages": (
        TwoStage(),
        {"iterations": 6, "batch_size": 4, "encoder": "text"},
    ),  # killed in the first, then in the second
    "of two sources": (CrossModal(), {"steps": 8}),
}


@pytest.mark.parametrize(
    ("name", "select"),
    [*((name, "last") for name in METHODS), ("step by step", "val_full"), ("compiled, with BatchNorm", "support_cv")],
)
def test_a_cell_that_was_killed_twice_is_what_it_would_have_been(tmp_path: Path, name: str, select: str) -> None:
    method, params = METHODS[name]
    asked = cell(method, "4", select, **{k: v for k, v in params.items() if k in type(method).params})
    expected = told(computed(asked, method))
    path = tmp_path / "cell.checkpoint"
    for after in (2, 3):
        with suppress(Killed):
            computed(asked, method, Dying(path, after))
    assert path.exists() == (name != "of two sources")  # whose batches are never between two epochs
    assert told(computed(asked, method, Dying(path, 10**9))) == expected
    assert not path.exists()


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workflow.lib.engine.training import Run

    steps: list[int] = []
    advance = Run.advance

    def counted(self: Run, count: int) -> None:
        steps.append(count)
        advance(self, count)

    monkeypatch.setattr(Run, "advance", counted)
    asked = cell(LinearProbe(), "4", "support_cv", epochs=6, batch_size=4)
    computed(asked, LinearProbe())
    whole, steps[:] = sum(steps), []
    with pytest.raises(Killed):
        computed(asked, LinearProbe(), Dying(tmp_path / "cell.checkpoint", 9))
    before, steps[:] = sum(steps), []
    said: list[str] = []
    bench = Bench(asked, FEATURES, "cpu", 1, said.append)
    with checkpoints.kept(Dying(tmp_path / "cell.checkpoint", 10**9)) as elapsed:
        cells.evaluate(bench, LinearProbe())
    assert 0 < elapsed < 600
    assert before + sum(steps) == whole
    assert any("going on from a checkpoint" in line for line in said)


def test_the_checkpoint_of_another_cell_or_a_broken_one_is_not_gone_on_from(tmp_path: Path) -> None:
    asked, method = cell(LinearProbe(), "4", "last", epochs=6, batch_size=4), LinearProbe()
    path = tmp_path / "cell.checkpoint"
    with pytest.raises(Killed):
        computed(asked, method, Dying(path, 3))
    other = checkpoints.Checkpoints(path, "another cell", PLAIN, lambda line: None, 0.0)
    assert (other.before, other.begin([Outcome(["last"])]).complete) == (0.0, False)
    path.write_bytes(path.read_bytes()[:1000])
    said: list[str] = []
    broken = Dying(path, 10**9, said)
    assert told(computed(asked, method, broken)) == told(computed(asked, method))
    assert [str(path) in line and "begins anew" in line for line in said] == [True]


def test_nothing_else_than_numbers_is_read_from_a_checkpoint(tmp_path: Path) -> None:
    path, said = tmp_path / "cell.checkpoint", []
    torch.save({"key": "this cell", "elapsed": 1.0, "fits": [Path("/")]}, path)
    kept = checkpoints.Checkpoints(path, "this cell", PLAIN, said.append, 0.0)
    assert (kept.before, len(said)) == (0.0, 1)


def test_a_cell_of_seconds_writes_none_and_a_costly_one_is_written_rarely(tmp_path: Path) -> None:
    path = tmp_path / "cell.checkpoint"
    kept = checkpoints.Checkpoints(path, "this cell", PLAIN, lambda line: None, 300.0)
    kept.begin([])
    kept.at(1, dict)
    assert not path.exists()
    kept = checkpoints.Checkpoints(path, "this cell", PLAIN, lambda line: None, 0.0)
    kept.begin([])
    kept.at(1, dict)
    kept._cost, written = 10.0, path.stat().st_mtime_ns
    kept.at(2, dict)
    assert path.stat().st_mtime_ns == written


def test_a_full_disk_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: checkpoints.Checkpoints, fits: Any) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(checkpoints.Checkpoints, "_write", full)
    asked, said = cell(LinearProbe(), "4", "last", epochs=6, batch_size=4), []
    found = computed(asked, LinearProbe(), checkpoints.Checkpoints(tmp_path / "c", "", PLAIN, said.append, -1.0))
    assert told(found) == told(computed(asked, LinearProbe()))
    assert "no checkpoint could be kept: [Errno 28] No space left on device" in said[0]


def test_a_method_with_a_fit_of_its_own_begins_anew() -> None:
    class Own(LinearProbe):
        def fit(self, task: Task, replicas: Any) -> Any:
            yield from super().fit(task, replicas)

    assert LinearProbe().resumes
    assert LastBlock().resumes
    assert not Own().resumes


def test_a_job_that_is_killed_and_run_again(tmp_path: Path) -> None:
    store.write(tmp_path / "made.safetensors", FEATURES)
    asked = cell(LinearProbe(), "4", "last", epochs=3000, batch_size=4)
    command = [sys.executable, "-m", "workflow.scripts.evaluate", "--spec", json.dumps(asdict(asked))]
    command += ["--features", "made.safetensors", "--predictions", "out.npz", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def job(name: str, seconds: str) -> subprocess.Popen[str]:
        own = [*command, "--metrics", f"{name}.json", "--checkpoint-seconds", seconds]
        return subprocess.Popen(own, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    killed = job("killed", "0")
    while not (tmp_path / "killed.checkpoint").exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert not (tmp_path / "killed.json").exists()
    again, never = job("killed", "1000"), job("never", "1000")
    said, _ = again.communicate()
    never.communicate()
    assert (again.returncode, never.returncode) == (0, 0)
    assert "going on from a checkpoint, " in said
    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("killed", "never"))
    times = {"seconds", "fit_seconds", "peak_memory_mb"}
    assert without(one, times) == without(other, times)
    assert min(one["seconds"].values()) >= 0
    assert not list(tmp_path.glob("*.checkpoint"))
