"""Telling lack of memory from other errors, for code that can go on with less. Imports no torch."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

REMEDY = "run fewer cells at a time (--cores), or on a cluster give each more (mem_mb)"
Again = Callable[..., Any]  # a part and what it is given, to what it makes, which is made twice and not kept
_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the host or of a GPU ran out: by type, or by the text where the type says nothing."""
    if isinstance(error, MemoryError) or "OutOfMemoryError" in [kind.__name__ for kind in type(error).__mro__]:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def release() -> None:
    """Give back what the allocator of a GPU keeps for later. Call it when the error is gone, with what it holds."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


_again: Again | None = None  # of the process: what is computed again may be in a thread of autograd's


@contextmanager
def sparing(again: Again) -> Iterator[None]:
    """While the block runs, parts that are called by `spared` keep nothing for their gradients."""
    global _again
    _again = again
    try:
        yield
    finally:
        _again = None


def is_sparing() -> bool:
    """Whether it runs."""
    return _again is not None


def spared(part: Callable[..., Any], *given: Any) -> Any:
    """What a part of a large module makes, a block of a tower for one."""
    return part(*given) if _again is None else _again(part, *given)
