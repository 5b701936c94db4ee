"""Defaults that a paper gives for some numbers of shots, read off for any number."""

from collections.abc import Mapping
from math import log

from methods.base import Replica, Task


def shots(task: Task, replica: Replica) -> float:
    """Labelled images per class of a replica's support: the mean where the classes differ."""
    return len(task.supports[replica.seed].y) / task.classes


def nearest(table: Mapping[int, float], shots: float) -> float:
    """The entry whose number of shots is nearest to `shots`, by ratio: 3 is nearer to 4 than to 2."""
    return table[min(table, key=lambda known: abs(log(known / shots)))]
