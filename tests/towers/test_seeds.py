"""The benchmark of seeds side by side: what it calls memory is memory, and every method in it can be run both ways."""

import sys
from collections.abc import Callable

import pytest

from benchmarks import seeds
from methods import Task, TrainedMethod
from methods.clip_lora import LowRankAdaptation
from methods.coop import ContextOptimization
from methods.kgcoop import KnowledgeGuidedContext
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from tests.towers import models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says how much memory it was")


@pytest.mark.parametrize("method", [KnowledgeGuidedContext, LowRankAdaptation, LastBlock, TwoStage])
def test_it_can_be_run_both_ways(method: type[TrainedMethod]) -> None:
    task = seeds.problem(method, models.backbone("openai"), 2, 4, 3)
    for together in (False, True):
        found = seeds.taken(method, task, together)
        assert min(found.seconds) > 0
        assert -1 < found.megabytes < 200


def test_memory_is_the_most_that_was_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def holding(method: object, task: Task) -> Callable[[], None]:
        held: list[bytes] = []
        return lambda: held.append(b"x" * (40 * 2**20 * len(task.supports))) if not held else None

    monkeypatch.setattr(seeds, "stepping", holding)
    task = seeds.problem(ContextOptimization, models.backbone("openai"), 3, 4, 3)
    turn, side = (seeds.apart(ContextOptimization, task, together).megabytes for together in (False, True))
    assert 35 < turn < 70
    assert 110 < side < 150
