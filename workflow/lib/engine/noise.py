"""The random numbers that layers draw while they train: each replica has a generator of its own."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from methods.contract.base import Replica
from workflow.lib.engine.stacking import Gradients, Pullback


def places(rngs: Sequence[np.random.Generator]) -> list[str]:
    """Where generators of NumPy are in their streams, as JSON: the numbers are longer than others can read."""
    return [json.dumps(rng.bit_generator.state) for rng in rngs]


def put(rngs: Sequence[np.random.Generator], places: Sequence[str]) -> None:
    """Generators go on from there."""
    for rng, place in zip(rngs, places, strict=True):
        rng.bit_generator.state = json.loads(place)


class Noise:
    """A generator for each of R replicas, which depends on the replica alone.

    A replica gets the numbers that PyTorch's own generator would give a loop that trains it alone, after
    `torch.manual_seed` with the first number of `replica.rng("noise")`. `drawn`: whether a layer has taken any.
    """

    def __init__(self, replicas: Sequence[Replica], device: str) -> None:
        self._replicas, self._device = replicas, torch.device(device)
        self.drawn = False

    def __len__(self) -> int:
        return len(self._replicas)

    @cached_property
    def _generators(self) -> list[torch.Generator]:
        seeds = [int(replica.rng("noise").integers(2**63)) for replica in self._replicas]
        return [torch.Generator(self._device).manual_seed(seed) for seed in seeds]

    def generators(self) -> list[torch.Generator]:
        """One for each replica."""
        self.drawn = True
        return self._generators

    def snapshot(self) -> list[Tensor]:
        """Where the generators are."""
        return [generator.get_state() for generator in self._generators]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Go on from there."""
        for generator, own in zip(self._generators, state, strict=True):
            generator.set_state(own)

    @contextmanager
    def at(self, state: Sequence[Tensor]) -> Iterator[None]:
        """While the block runs the generators go on from where they were."""
        now = self.snapshot()
        self.restore(state)
        try:
            yield
        finally:
            self.restore(now)

    @contextmanager
    def of(self, replica: int, keep: bool) -> Iterator[None]:
        """PyTorch's own generator is that of a replica. What is drawn counts if it is to `keep`, as in training."""
        own, cuda = self._generators[replica], self._device.type == "cuda"
        before = own.get_state()
        with torch.random.fork_rng(devices=[self._device] if cuda else []):
            (torch.cuda.set_rng_state if cuda else torch.set_rng_state)(before)
            yield
            after = torch.cuda.get_rng_state(self._device) if cuda else torch.get_rng_state()
        if keep and not torch.equal(before, after):
            self.drawn = True
            own.set_state(after)


class Dropouts:
    """R dropouts: each replica drops its own numbers, each with its own probability."""

    def __init__(self, layers: Sequence[nn.Dropout], noise: Noise) -> None:
        self._drop, self._noise = [layer.p for layer in layers], noise
        self.weights: dict[str, Tensor] = {}
        self.training = True

    def __call__(self, x: Tensor) -> Tensor:
        return x * self._mask(x) if self._active else x

    def vjp(self, x: Tensor) -> tuple[Tensor, Pullback]:
        """The output for a training batch `x (R, B, D)`, and how the gradient comes back from it."""
        if not self._active:
            return x, lambda gradient, inputs=True, late=False: (gradient, {})
        mask = self._mask(x)

        def pull(gradient: Tensor, inputs: bool = True, late: bool = False) -> tuple[Tensor | None, Gradients]:
            return gradient * mask if inputs else None, {}

        return x * mask, pull

    @property
    def _active(self) -> bool:
        return self.training and any(self._drop)

    def _mask(self, x: Tensor) -> Tensor:
        """0, or 1 / (1 − p) for what is kept, `(R, B, D)`; of `x (M, D)` every replica drops numbers of its own."""
        shape = x.shape if x.dim() > 2 else (1, *x.shape)
        mask = torch.ones((len(self._noise), *shape[1:]), dtype=x.dtype, device=x.device)
        for own, drop, generator in zip(mask, self._drop, self._noise.generators(), strict=True):
            if drop in (0, 1):  # PyTorch draws nothing for these
                own.mul_(1 - drop)
            else:
                own.bernoulli_(1 - drop, generator=generator).div_(1 - drop)
        return mask

    def state(self, replica: int) -> dict[str, Tensor]:
        return {}
