"""Telling lack of memory from other errors, for whoever can go on with less. Imports no torch."""

_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the host or of a GPU ran out: by type, or by the text where the type says nothing."""
    if isinstance(error, MemoryError) or "OutOfMemoryError" in [kind.__name__ for kind in type(error).__mro__]:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)
