"""Lack of memory is told from other errors, and met with fewer replicas at a time."""

import numpy as np
import pytest
import torch

from workflow.lib.errors import UserError
from workflow.lib.jobs.memory import is_out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: 7 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 7 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_lack_of_memory_is_recognised(error):
    assert is_out_of_memory(error)


def test_what_the_libraries_raise_is_recognised():
    for allocate in (lambda: np.empty(2**50), lambda: torch.empty(2**50)):
        with pytest.raises((MemoryError, RuntimeError)) as raised:
            allocate()
        assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("a class called 'out of memory'"),
        UserError("out of memory: already said"),
        KeyboardInterrupt(),
    ],
)
def test_nothing_else_is_taken_for_it(error):
    assert not is_out_of_memory(error)
