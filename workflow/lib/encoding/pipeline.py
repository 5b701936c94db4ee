"""From items to embeddings in threads: batches, worked on a few ahead and given out in order, gathered as they come."""

from __future__ import annotations

import math
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

_BATCHES_AHEAD = 2
IN_MEMORY = 2**30  # bytes of rows that are gathered in memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def both(
    load: Callable[[Item], torch.Tensor],
    encode: Callable[[torch.Tensor], torch.Tensor],
    items: Iterable[Item],
    threads: int,
    ahead: bool,
) -> Iterator[torch.Tensor]:
    """`encode(load(item))` of every item: `load` alone in the threads, ahead of `encode`, or both of them there."""
    if ahead:
        return map(encode, in_order(load, items, threads))
    return in_order(lambda item: encode(load(item)), items, threads)


def gather(results: Iterable[torch.Tensor], total: int, done: Callable[[int], object]) -> NDArray[Any]:
    """The `total` rows of all results, each put into its place as it comes: they are never in memory twice.

    Many and large ones lie in a file without a name, which takes memory only as far as there is some to spare.
    """
    gathered, end = np.empty((0, 0), np.float32), 0  # of no rows the width is not known
    for part in results:
        gathered = gathered if end else _room((total, *part.shape[1:]), part.numpy().dtype)
        gathered[end : end + len(part)] = part.numpy()
        end += len(part)
        done(len(part))
    return gathered


def _room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    if math.prod(shape) * dtype.itemsize <= IN_MEMORY:
        return np.empty(shape, dtype)
    return np.memmap(tempfile.TemporaryFile(), dtype, "w+", shape=shape)  # its memory keeps the file open


def batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of `size`, the last one shorter."""
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`work` of every item, done by `threads` threads a few items ahead, and given out in the order of the items."""
    pool = ThreadPoolExecutor(threads)
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) >= threads + _BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # After an error or an interrupt the rest is dropped, not worked through.
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_core_a_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, no threads within an operation: the embeddings then don't depend on the number of threads either."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
