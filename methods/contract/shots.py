"""Numbers of shots: how a study writes them, and defaults that a paper gives for some of them."""

from collections.abc import Mapping
from math import log

from methods.contract.base import Task

ALL = "all"
ZERO = "0"  # the shots of a method that learns nothing: one cell that stands for every number of shots


def number(task: Task) -> float:
    """The number of shots; of `all`, the images per class on average."""
    if task.shots.isdigit():
        return max(1, int(task.shots))
    return len(next(iter(task.supports.values())).y) / task.classes


def nearest(table: Mapping[int, float], shots: float) -> float:
    """The entry whose number of shots is nearest to `shots`, by ratio: 3 is nearer to 4 than to 2."""
    return table[min(table, key=lambda known: abs(log(known / shots)))]


def coop_epochs(task: Task) -> int:
    """How many CoOp (arXiv:2109.01134) trains for: 50, 100 or 200 with 1, 2 to 7 or more shots."""
    shots = number(task)
    return 50 if shots < 2 else 100 if shots < 8 else 200
