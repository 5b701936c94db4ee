"""A forward pass that fits itself to the memory there is."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from workflow.lib.errors import UserError
from workflow.lib.jobs.memory import is_out_of_memory, release

log = logging.getLogger(__name__)


class Encoder:
    """A forward pass in pieces of at most `batch_size`, which is halved whenever memory runs out.

    Threads may share an encoder.
    """

    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor], batch_size: int) -> None:
        self._forward = forward
        self.batch_size = batch_size

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """`forward` of the batch `(N, ...)`. Raises `UserError` where not even one item fits into memory."""
        while True:
            size = self.batch_size
            try:
                return torch.cat([self._forward(piece) for piece in torch.split(batch, size)])
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error)
            # Only here, where the exception and the tensors that it holds are gone, is their memory free.
            self._halve(min(size, len(batch)), reason)

    def _halve(self, size: int, reason: str) -> None:
        if size == 1:
            raise UserError(f"not even one image at a time fits into memory: {reason}")
        self.batch_size = min(self.batch_size, size // 2)
        log.warning("out of memory at %d at a time, going on with %d", size, self.batch_size)
        release()
