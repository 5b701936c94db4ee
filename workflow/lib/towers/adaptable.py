"""Towers in which replicas have parts of their own: `methods.contract.adaptation.Adaptable`.

R replicas run side by side on one copy of the frozen weights. Blocks below the lowest in which anything is trained are
frozen: what they make of a text is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from methods.contract.adaptation import Adaptation
from workflow.lib.jobs.precision import as_the_step_asks, exactly
from workflow.lib.towers import blocks
from workflow.lib.towers.text import Layout, Tower


class AdaptableTexts:
    """K texts through a text tower."""

    def __init__(self, tower: Tower, layout: Layout) -> None:
        self._tower, self._layout, self._frozen = tower, layout, Frozen()
        self._transformer = tower.part.transformer
        self.depth, self.width = len(self._transformer.resblocks), tower.width
        self.dim = tower.dim

    def norms(self) -> tuple[Tensor, Tensor]:
        """The tower's own weights and biases `(J, W)`."""
        return stacked([*of_blocks(self._transformer), self._tower.part.ln_final])

    @as_the_step_asks
    def __call__(self, adaptation: Adaptation, *_: Tensor) -> Tensor:
        """Class texts `(R, K, D)`, not unit."""
        tower, layout = self._tower, self._layout
        start, own = tower.placed(tower.embedded(layout.start), tower.whole(layout))
        made = blocks.adapted(self._transformer, adaptation)
        if tower.shares and len(start) and not adaptation.low_rank:  # these drop other numbers in each text
            sets, unseen = adaptation.replicas, tower.unseen(own.shape[1], tower.seen(layout))
            found = blocks.ends(made, repeated(own, sets), tower.ends(layout), unseen, repeated(start, sets))
        else:
            whole = torch.cat([start.expand(len(own), -1, -1), own], 1)
            found = self._one_by_one(made, whole, adaptation)
        return tower.projected(found, blocks.norm(adaptation, 2 * self.depth))

    def _one_by_one(self, made: Sequence[blocks.Block], x: Tensor, adaptation: Adaptation) -> Tensor:
        """Whole texts `x (K, L, W)`."""
        unseen, below = self._tower.unseen(x.shape[1], self._tower.seen(self._layout)), lowest(self.depth, adaptation)
        x = self._frozen(below, lambda: blocks.through(made[:below], x[None], unseen)[0], x.device.type)
        return blocks.ends(made[below:], repeated(x, adaptation.replicas), self._last(x.shape[1]), unseen)

    def _last(self, length: int) -> Tensor:
        """The place of the token that stands for each text `(K,)`."""
        if self._tower.by_token:
            return len(self._layout.start) + self._tower.ends(self._layout)
        return torch.full_like(self._layout.last, 0 if self._tower.pool == "first" else length - 1)


class Frozen:
    """What so many frozen blocks make of the texts, kept from the first time on."""

    def __init__(self) -> None:
        self._known: dict[int, Tensor] = {}

    def __call__(self, below: int, made: Callable[[], Tensor], device: str) -> Tensor:
        if below not in self._known:
            with torch.no_grad(), exactly(device):
                self._known[below] = made()
        return self._known[below]


def lowest(depth: int, adaptation: Adaptation) -> int:
    """How many blocks stand below the lowest in which something is the replicas' own; the last one never does."""
    if adaptation.norms:
        return 0
    return depth - (adaptation.low_rank.down.shape[1] if adaptation.low_rank else 1)


def repeated(x: Tensor, replicas: int) -> Tensor:
    """`(R, …)`: the same for all replicas, in one memory."""
    return x.expand(replicas, *x.shape)


def of_blocks(transformer: Any) -> list[Any]:
    """The LayerNorms of the blocks."""
    return [layer for block in transformer.resblocks for layer in (block.ln_1, block.ln_2)]


def stacked(layers: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Weights and biases `(J, W)` of LayerNorms."""
    weights, biases = ([getattr(layer, name).detach().float() for layer in layers] for name in ("weight", "bias"))
    return torch.stack(weights), torch.stack(biases)
