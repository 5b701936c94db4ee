"""Work on fixed memory that is done over and over: on a GPU it is recorded once and then replayed as one CUDA graph.

The steps of an epoch are some ten thousand kernels, each of which runs shorter than Python takes to start it. What is
recorded must do the same every time: read and write the same tensors, with no number taken from the device and none
from Python that changes between one time and the next.
"""

from collections.abc import Callable

import torch

from workflow.lib.errors import one_line
from workflow.lib.jobs.memory import is_out_of_memory

Work = Callable[[], None]
Recorder = Callable[[Work], Work]  # does nothing of the work, and returns what does it


def recorder(device: str) -> Recorder | None:
    """What records work on a device; None for a CPU, which nothing starts faster than Python does."""
    return None if device == "cpu" else _cuda_graph


def _cuda_graph(work: Work) -> Work:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


class Replayed:
    """Does the work as it is the first time, which warms everything up; recorded from the second time on.

    What can't be recorded is done as it is, after a line in the log that says why.
    """

    def __init__(self, work: Work, record: Recorder, log: Callable[[str], None]) -> None:
        self._work, self._record, self._log = work, record, log
        self._times = 0
        self._again = work

    def __call__(self) -> None:
        self._times += 1
        if self._times == 2:
            self._again = self._recorded()
        self._again()

    def _recorded(self) -> Work:
        try:
            return self._record(self._work)
        except RuntimeError as error:
            # The end of a recording may fail in its turn, over the error that ended it.
            if is_out_of_memory(error) or (error.__context__ and is_out_of_memory(error.__context__)):
                raise MemoryError(one_line(error)) from error
            self._log(f"  not recorded as a CUDA graph, and slower for it: {one_line(error)}")
            return self._work
