"""What a method is handed can't be written to: every seed, every variant and the judge read the same memory."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from methods.contract.base import Replica, Support, Task
from workflow.lib.evaluation.folds import Supports

ADVICE = "what a method is given is read-only: it may work on a copy"


def sealed(task: Task) -> Task:
    """The task with read-only arrays, in the same memory, and supports that can't be exchanged."""
    # Of torch.from_numpy, which knows no read-only tensors: the methods may use it, they read.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    supports = task.supports
    if not isinstance(supports, Supports):  # those are read-only, and made one at a time
        supports = MappingProxyType({seed: _support(support) for seed, support in supports.items()})
    arrays = {field.name: read_only(getattr(task, field.name)) for field in fields(task)}
    return replace(task, **arrays | {"supports": supports})


def _support(support: Support) -> Support:
    return replace(support, **{field.name: read_only(getattr(support, field.name)) for field in fields(support)})


def read_only(value: Any) -> Any:
    """A view of an array that can't be written through; anything else as it is."""
    if not isinstance(value, np.ndarray):
        return value
    view = value.view()
    view.flags.writeable = False
    return view


@contextmanager
def params_kept(replicas: Sequence[Replica]) -> Iterator[None]:
    """Raise ValueError if the parameters of a replica are others afterwards: the record would tell what was not run."""
    before = [dict(replica.params) for replica in replicas]
    yield
    for replica, kept in zip(replicas, before, strict=True):
        if dict(replica.params) != kept:
            raise ValueError(f"{replica}: its params were changed from {kept} to {dict(replica.params)}; {ADVICE}")
