"""What replicas may have of their own inside a frozen tower: low-rank products, LayerNorms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from methods.contract.changes import Changes

Tensor = Any  # of torch, which nothing here imports


@dataclass(frozen=True)
class LowRank:
    """Added to the queries, keys and values of a tower's last n blocks: `scale · B A drop(x)` of their input x.

    A is `down (R, n, 3, r, W)`, B is `up (R, n, 3, W, r)`; `drop` takes tokens `(R, M, W)`, each replica's for itself.
    """

    down: Tensor
    up: Tensor
    scale: Tensor
    drop: Callable[[Tensor], Tensor]

    def of(self, block: int) -> "LowRank":
        """That of one of these blocks: `(R, 3, r, W)` and `(R, 3, W, r)`."""
        return LowRank(self.down[:, block], self.up[:, block], self.scale, self.drop)


@dataclass(frozen=True)
class Norms:
    """Weights and biases `(R, J, W)` of all J LayerNorms of a tower, in the order in which tokens come to them."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class Adaptation:
    """What R replicas have of their own in a tower; nothing of it: the tower as it is, for all of them."""

    low_rank: LowRank | None = None
    norms: Norms | None = None

    @property
    def replicas(self) -> int:
        """R."""
        if self.low_rank:
            return len(self.low_rank.down)
        return len(self.norms.weight) if self.norms else 1


class Adaptable(Protocol):
    """A tower in which R replicas may have parts of their own. One of a head's parts, as it is: replicas share it."""

    depth: int  # blocks
    width: int  # W, of a token
    dim: int  # D, of an embedding

    def norms(self) -> tuple[Tensor, Tensor]:
        """The tower's own weights and biases of LayerNorms, `(J, W)` each."""
        ...

    def __call__(self, adaptation: Adaptation, *images: Tensor) -> Tensor:
        """Embeddings, not unit: of its K texts `(R, K, D)`, or `(R, B, D)` of images `(R, B, …)`, or `(M, …)` for all.

        Gradients flow back to what is the replicas' own.
        """
        ...


class AdaptableImages(Adaptable, Protocol):
    """Such an image tower."""

    def changes(self, adaptation: Adaptation) -> Changes:
        """What of the tower is other for the first replica, to be shipped."""
        ...
