"""The drawings that `nano` is trained on: planes and digits from random numbers that no study uses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from workflow.lib.drawn import numerals, planes
from workflow.lib.nano.captions import PLANES, SUBJECTS

# First word of every seed of the drawings made here; the study's is planes.STUDY_STREAM.
TRAINING_STREAM = 77_003


def drawing(subject: int, index: int) -> NDArray[np.uint8]:
    """Training drawing `index` of a subject (0 to 99 a variant, 100 to 109 a digit): uint8 (64, 64, 3)."""
    rng = np.random.Generator(np.random.PCG64((TRAINING_STREAM, subject, index)))
    picture = planes.draw(planes.VARIANTS[subject], rng) if subject < PLANES else numerals.draw(subject - PLANES, rng)
    return np.asarray(picture)


def _drawings(subject: int, count: int) -> NDArray[np.uint8]:
    return np.stack([drawing(subject, index) for index in range(count)])


def draw_all(counts: list[int], workers: int) -> Iterator[NDArray[np.uint8]]:
    """The drawings of each subject in turn, as many as `counts` says."""
    if workers == 1:
        yield from map(_drawings, range(SUBJECTS), counts)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_drawings, range(SUBJECTS), counts)
