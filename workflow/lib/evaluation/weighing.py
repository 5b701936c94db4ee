"""How large a classifier is as data: the bytes of the arrays that it is written down as when it is shipped."""

import numpy as np

from methods.contract import exporting
from methods.contract.base import Candidate, Floats, Method, Params, Replica, Task
from methods.contract.needs import unshippable
from methods.contract.program import Program
from workflow.lib.jobs import memory


def of_head(method: Method, task: Task, params: Params) -> int | None:
    """That of a head that an engine trains: its shapes say it, whatever is learned. None where it can't be shipped."""
    if unshippable(method.needs(params)):
        return None
    seed = next(iter(task.supports))
    try:
        with np.errstate(all="ignore"):  # it is asked about points where no image is
            return size(task.trainer().untrained(method, task, Replica("", params, seed)))
    except Exception as error:  # an aside: whatever is wrong with the head, its training is where that is told
        _free(error)
        return None


def of_candidate(candidate: Candidate, x: Floats) -> int | None:
    """That of a candidate of one replica, for queries `(M, D)` like `x`: embeddings, and no array beside them.

    None where it can't be shipped.
    """
    try:
        with np.errstate(all="ignore"):
            return size(exporting.export(lambda queries: candidate.logits(queries)[0], candidate.program, x))
    except Exception as error:  # likewise: `python -m methods check` and `snakemake ship` say what is wrong
        _free(error)
        return None


def size(program: Program) -> int:
    """The bytes of a program's arrays, and of what it changes in the image tower."""
    return sum(array.nbytes for array in program.arrays.values()) + program.tower.nbytes


def _free(error: Exception) -> None:
    if memory.is_out_of_memory(error):
        memory.release()
