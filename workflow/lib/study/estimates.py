"""What a job asks a cluster for: memory in MB and time in minutes, from sizes that are known before it runs.

Generous on purpose, and more with each attempt: too much costs a wait in the queue, too little costs the job. Measured
on two cores: a cell peaks at 0.7 GB with 5 MB of features, and trains 9 replicas on all of them in 0.7 minutes.
"""

import os
from collections.abc import Iterable

SMALL_CLASS = 20  # images: with fewer shots than these, the support is a part of the features
INDEX_BYTES = 50  # of one image in an index
TRAINING = 10  # times what a method takes that does not train by gradient descent
TOWER = 100  # likewise of a method with a text tower in its loop
TOWER_MINUTES = 20  # of each of its trainings, on a GPU
TOWER_MB = 6000  # of its gradients, and of open_clip
FIRST = 10**6  # the priority of what cells wait for
VECTOR_MB = 0.004  # of one image in memory: 1024 numbers of 4 bytes


def trainings(variants: int, seeds: int, folds: int) -> int:
    """How many fits a cell is: each variant and seed, once and without each of its folds."""
    return variants * seeds * (1 + folds)


def cell_memory(
    features_mb: float, attempt: int, shots: str = "0", folds: int = 0, weights_mb: float | None = None
) -> int:
    """A cell: torch and its libraries, then the features as they are read and once more, normalised.

    The supports without a fold that are trained side by side are further copies of a seed's support. `weights_mb` are
    those of the model whose text tower it loads, if it does: as they are read and in place.
    """
    tower = 0 if weights_mb is None else TOWER_MB + 3 * weights_mb
    return round(attempt * (3000 + tower + (2 + _share(shots) * folds) * features_mb))


def held(vectors_mb: float, images_mb: float, shots: str, seeds: int) -> float:
    """What a cell holds of the files that it reads: all vectors, and of arrays of images those of its supports."""
    return vectors_mb + images_mb * _share(shots) * seeds


def cell_minutes(features_mb: float, shots: str, replicas: int, attempt: int, tower: bool = False) -> int:
    """A cell: the start, then every replica trains on its support, and through a text tower where it has one."""
    each = 0.05 * features_mb * _share(shots) + (TOWER_MINUTES if tower else 0)
    return round(attempt * (2 + each * replicas))


def cell_cost(shots: str, replicas: int, trains: bool, tower: bool = False) -> float:
    """What a cell takes beside others, without a unit."""
    return _share(shots) * replicas * (TOWER if tower else TRAINING if trains else 1)


def cell_priority(cost: float, wave: int | None) -> float:
    """The longest cells first: in the end no core waits for one that began late. Whatever they need comes before.

    Before the others go the waves 0, 1, …: what a first table needs, dataset after dataset.
    """
    return cost if wave is None else FIRST / 2 - 1000 * min(wave, 400) + min(cost, 999)


def _share(shots: str) -> float:
    """How much of the features is the support."""
    return 1.0 if shots == "all" else min(1.0, int(shots) / SMALL_CLASS)


def extraction_memory(images: int, weights_mb: float, attempt: int) -> int:
    """An extraction: the libraries, the weights as they are read and in place, the features twice."""
    return round(attempt * (6000 + 3 * weights_mb + 2 * VECTOR_MB * images))


def extraction_minutes(images: int, attempt: int) -> int:
    """An extraction: 20 images a second, what two cores do with ViT-B-32. A GPU is faster by far."""
    return round(attempt * (10 + images / 20 / 60))


def import_memory(vectors_mb: float, attempt: int) -> int:
    """Features made elsewhere: read, checked and written."""
    return round(attempt * (2000 + 4 * vectors_mb))


def images_in(index: str) -> int:
    """About how many images an index lists, by its size. Raises FileNotFoundError."""
    return os.path.getsize(index) // INDEX_BYTES


def megabytes(paths: Iterable[str]) -> float:
    """The size of some files together. Raises FileNotFoundError."""
    return sum(os.path.getsize(path) for path in paths) / 1e6
