"""The gradients of one replica alone in less memory, once it has run out.

First what the blocks of a tower make is computed again for the gradients rather than kept. Then the batch is taken in
halves, and halves of these, whose gradients are added: the loss is a mean over images. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workflow.lib.engine.heads import Head
from workflow.lib.engine.mixup import Mixed
from workflow.lib.engine.objective import Labels, Objective
from workflow.lib.engine.stacking import Late, made
from workflow.lib.errors import one_line
from workflow.lib.jobs import memory


class Sparing:
    """Gradients of the weights, in their order. Raises MemoryError where there is nothing left to spare."""

    def __init__(self, objective: Objective, head: Head, log: Callable[[str], None]) -> None:
        self._objective, self._head, self._log = objective, head, log
        self._parts = 0  # of a batch; 0: nothing is spared yet

    def __call__(self, x: Tensor, y: Labels) -> list[Tensor | Late]:
        """Of a batch `x (1, B, D)`."""
        noise = self._head.noise
        before = noise.snapshot()
        while True:
            try:
                return self._gradients(x, y)
            except Exception as error:
                if not memory.is_out_of_memory(error):
                    raise
                reason = one_line(error) or type(error).__name__
            memory.release()  # here, where the error and all that it holds is gone
            noise.restore(before)
            self._less(x.shape[1], y, reason)

    def _gradients(self, x: Tensor, y: Labels) -> list[Tensor | Late]:
        if not self._parts:
            return self._objective.gradients(x, y)
        with memory.sparing(self._again):
            return self._objective.gradients(x, y) if self._parts == 1 else self._in_parts(x, y)

    def _again(self, part: Callable[..., Any], *given: Any) -> Any:
        """What a part makes, which is not kept; the second time the same random numbers are drawn."""
        noise = self._head.noise
        state = noise.snapshot()
        return checkpoint(part, *given, use_reentrant=False, context_fn=lambda: (nullcontext(), noise.at(state)))

    def _in_parts(self, x: Tensor, y: Labels) -> list[Tensor | Late]:
        assert isinstance(y, Tensor)
        total: list[Any] = []
        for own_x, own_y in zip(x.tensor_split(self._parts, 1), y.tensor_split(self._parts, 1), strict=True):
            share = own_x.shape[1] / x.shape[1]
            found = [share * gradient for gradient in made(self._objective.gradients(own_x, own_y))]
            if why := self._whole(y):  # of a first step that is known now
                raise MemoryError(why)
            total = [one.add_(more) for one, more in zip(total, found, strict=True)] if total else found
        return total

    def _less(self, size: int, y: Labels, reason: str) -> None:
        if not self._parts:
            self._parts, how = 1, "what the tower's blocks make is computed again for the gradients, and not kept"
        elif why := self._whole(y):
            raise MemoryError(reason if why in reason else f"{reason}; the batch can't be taken in parts: {why}")
        elif self._parts >= size:
            raise MemoryError(reason)
        else:
            self._parts = min(size, 2 * self._parts)
            how = f"the batch is taken in {self._parts} parts, whose gradients are added"
        self._log(f"  out of memory in a step of {size} images, going on with less: {how} ({reason})")

    def _whole(self, y: Labels) -> str:
        """Why a batch can't be taken in parts; empty where it can, as far as is known before the first step."""
        if isinstance(y, Mixed):
            return "it is mixed with itself"
        if not self._objective.of_images:
            return "its loss is no mean over images"
        if self._head.noise.drawn:
            return "random numbers are drawn for the whole of it"
        return "a layer keeps statistics of it" if self._head.tracks else ""
