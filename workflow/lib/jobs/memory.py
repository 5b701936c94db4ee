"""Telling lack of memory from other errors, for code that can go on with less. Imports no torch."""

import gc
import sys

REMEDY = "run fewer cells at a time (--cores), or on a cluster give each more (mem_mb)"
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
