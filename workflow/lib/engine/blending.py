"""Weights between where they start and what was learned: `(1 − w) θ₀ + w θ`, WiSE-FT (arXiv:2109.01903).

Replicas that differ in w alone share one training.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from methods.contract.base import Array, Replica
from methods.contract.program import Program

Family = Sequence[Replica]  # one training serves them


class Blends(Protocol):
    """What is asked of a method here."""

    blends: ClassVar[str]


def families(method: Blends, replicas: Sequence[Replica]) -> list[list[Replica]]:
    """The replicas by training: each alone, but for those of one seed that differ in w alone."""
    found: dict[str, list[Replica]] = {}
    for number, replica in enumerate(replicas):
        settings = sorted((name, value) for name, value in replica.params.items() if name != method.blends)
        found.setdefault(repr((replica.seed, settings) if method.blends else number), []).append(replica)
    return list(found.values())


class Shares:
    """Which w each of the replicas wants that R trainings stand for."""

    def __init__(self, method: Blends, chunk: Sequence[Family]) -> None:
        self._name = method.blends
        rounds = range(max(map(len, chunk)))
        self._rows = [[row for row, family in enumerate(chunk) if place < len(family)] for place in rounds]
        self._shares = [[self._share(family, place) for family in chunk] for place in rounds]
        self.replicas = [chunk[row][place] for place in rounds for row in self._rows[place]]
        self.whole = all(share == 1 for shares in self._shares for share in shares)

    def _share(self, family: Family, place: int) -> float:
        """Of what is not there, 1."""
        return float(family[place].params.get(self._name, 1.0)) if place < len(family) else 1.0

    def logits(self, run: "Classifies", queries: Array) -> Tensor:
        """Of all replicas, in their order, from a run of the R trainings."""
        if len(self._rows) == 1:
            return run.logits(queries, None if self.whole else self._shares[0])
        return torch.cat([run.logits(queries, w)[rows] for rows, w in zip(self._rows, self._shares, strict=True)])

    def program(self, run: "Classifies") -> Program | None:
        """Of one replica that is trained alone, to be shipped."""
        return run.program(None if self.whole else self._shares[0])


class Classifies(Protocol):
    """A run of R trainings."""

    def logits(self, queries: Array, shares: Sequence[float] | None = None) -> Tensor:
        """`(R, M, K)` with the weights as they are, or mixed with those at the start."""
        ...

    def program(self, shares: Sequence[float] | None = None) -> Program | None:
        """Likewise the classifier of the first."""
        ...


class Start:
    """The weights `(R, …)` as they were when the training began."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = [weight.detach() for weight in weights.values()]
        self._values = [weight.clone() for weight in self._weights]

    @contextmanager
    def blended(self, shares: Sequence[float]) -> Iterator[None]:
        """Each replica's weights are those for its w; afterwards they are themselves again."""
        own = [weight.clone() for weight in self._weights]
        for weight, start, end in zip(self._weights, self._values, own, strict=True):
            share = torch.tensor(shares, device=weight.device).view(-1, *[1] * (weight.dim() - 1))
            weight.copy_(torch.lerp(start, end, share))  # exact at both ends
        try:
            yield
        finally:
            torch._foreach_copy_(self._weights, own)
