"""An image tower in which replicas have parts of their own: `methods.contract.adaptation.Adaptable`.

From pixels on, or its last blocks from what goes into them. Of the last block only the token that stands for the image
is computed, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor

from methods.contract.adaptation import Adaptation, LowRank, Norms
from methods.contract.changes import Changes, Numbers
from workflow.lib.encoding import changed_tower
from workflow.lib.jobs.precision import as_the_step_asks
from workflow.lib.towers import blocks
from workflow.lib.towers.adaptable import of_blocks, repeated, stacked


class AdaptableImages:
    """Images through open_clip's own ViT, or through its last `after` blocks.

    `read` makes of rows `(N, …)` images `(N, 3, H, W)` as the tower reads them, or the tokens `(N, L, W)` that go into
    these blocks.
    """

    def __init__(self, visual: Any, read: Callable[[Tensor], Tensor], after: int = 0) -> None:
        self._visual, self._read, self._after = visual.eval().requires_grad_(False), read, after
        self._transformer = visual.transformer
        self._before = int(hasattr(visual.ln_pre, "weight"))  # LayerNorms that stand before the blocks
        self.depth, self.width = after or len(self._transformer.resblocks), visual.ln_post.normalized_shape[0]
        self.dim: int = self.width if visual.proj is None else visual.proj.shape[1]

    def norms(self) -> tuple[Tensor, Tensor]:
        """The tower's own weights and biases `(J, W)`."""
        before = [self._visual.ln_pre] * self._before
        return stacked([*before, *of_blocks(self._transformer), self._visual.ln_post])

    def changes(self, adaptation: Adaptation) -> Changes:
        """What is other for the first replica, by the tower's own names."""
        norms, low_rank = adaptation.norms, adaptation.low_rank
        return Changes(self._own_norms(norms) if norms else {}, self._products(low_rank) if low_rank else {})

    def _own_norms(self, own: Norms) -> dict[str, Numbers]:
        every = range(len(self._transformer.resblocks))
        names = ["ln_pre"] * self._before
        names += [f"transformer.resblocks.{i}.ln_{one}" for i in every for one in (1, 2)] + ["ln_post"]
        now = {f"{name}.weight": weight for name, weight in zip(names, own.weight[0], strict=True)}
        now |= {f"{name}.bias": bias for name, bias in zip(names, own.bias[0], strict=True)}
        return changed_tower.replaced(self._visual.state_dict(), now)

    def _products(self, own: LowRank) -> dict[str, tuple[Numbers, Numbers]]:
        """Of queries, keys and values, whose weights are one matrix, one product: its first factor in blocks."""
        down, up = own.down[0], own.scale * own.up[0]  # (n, 3, r, W) and (n, 3, W, r)
        below, found = len(self._transformer.resblocks) - len(down), {}
        for i, (ups, downs) in enumerate(zip(up, down, strict=True), below):
            if ups.any() and downs.any():
                apart = torch.block_diag(*ups)  # type: ignore[no-untyped-call]  # torch leaves its types out
                pair = changed_tower.in_numpy(apart), changed_tower.in_numpy(downs.flatten(0, 1))
                found[f"transformer.resblocks.{i}.attn.in_proj_weight"] = pair
        return found

    @as_the_step_asks
    def __call__(self, adaptation: Adaptation, *images: Tensor) -> Tensor:
        """Embeddings `(R, B, D)`, not unit, of rows `x (R, B, …)`, or `(M, …)` for all replicas."""
        (x,) = images
        tokens = self._read(x.flatten(0, -2))
        tokens = tokens if self._after else self._embedded(tokens)
        tokens = tokens.view(*x.shape[:-1], *tokens.shape[1:])
        tokens = tokens if x.dim() > 2 else repeated(tokens, adaptation.replicas)
        if self._before and not self._after:
            tokens = blocks.normalized(self._visual.ln_pre, tokens, blocks.norm(adaptation, 0))
        made = blocks.adapted(self._transformer, adaptation, self._before)
        last = blocks.norm(adaptation, self._before + 2 * len(made))
        return self._pooled(made[-self.depth :], tokens, last)

    def _embedded(self, images: Tensor) -> Tensor:
        """Tokens `(N, L, W)` with their positions: the class's, then those of the patches."""
        visual = self._visual
        patches = visual.conv1(images).flatten(2).mT
        begin = visual.class_embedding.expand(len(images), 1, -1)
        return torch.cat([begin, patches], 1) + visual.positional_embedding

    def _pooled(self, made: Sequence[blocks.Block], tokens: Tensor, own: blocks.Norm | None) -> Tensor:
        visual = self._visual
        if visual.pool_type == "tok":
            first = torch.zeros(tokens.shape[1], dtype=torch.int64, device=tokens.device)
            pooled = blocks.normalized(visual.ln_post, blocks.ends(made, tokens, first), own)
        elif visual.final_ln_after_pool:
            pooled = blocks.normalized(visual.ln_post, blocks.through(made, tokens)[:, :, 1:].mean(2), own)
        else:
            pooled = blocks.normalized(visual.ln_post, blocks.through(made, tokens), own)[:, :, 1:].mean(2)
        return pooled if visual.proj is None else pooled @ visual.proj


def unfit(visual: Any) -> str:
    """Why replicas can't have parts of their own in an image tower; empty where they can."""
    if type(visual) is not VisionTransformer:
        return f"a {type(getattr(visual, 'trunk', visual)).__name__} is not open_clip's own ViT"
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        return "it pools by attention"
    return "" if blocks.fit(visual.transformer) else "its blocks are not open_clip's usual ones"
