"""The frozen text tower of an open_clip model, run from the embeddings of tokens on, without what is needless.

In a causal tower no token sees what stands behind it. So a text is cut behind the token that stands for it, and what
the texts of a set begin with runs once (`blocks`). Both are exact. Elsewhere, in SigLIP's tower, the whole text runs.
In CoCa's a token of the class stands behind the text, and sees what is no padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workflow.lib.jobs.memory import is_sparing
from workflow.lib.jobs.precision import as_the_step_asks
from workflow.lib.towers import blocks

ACTIVATIONS = 2**31  # bytes that a step may keep for its gradients: beyond, texts run in slices, computed twice
KEPT = 18  # numbers that a block keeps for each of a token, about


@dataclass(frozen=True)
class Layout:
    """How K texts are laid out: what all begin with, room for contexts, and each text's own tokens.

    `start (P,)` and `own (K, S)` are ids of tokens, `learned` the room between them, `last (K,)` the place in `own` of
    the token that stands for the text, or behind which there is padding alone; `longest` one more than the largest.
    """

    start: Tensor
    own: Tensor
    learned: int
    last: Tensor
    longest: int  # a number, for one that is read from a device can't be recorded


class Tower:
    """The text tower of a model on its device. `cut` and `share` switch the savings, for tests and benchmarks.

    Without `slices` all texts run at once: what is computed twice is of the weights that are there the second time.
    """

    def __init__(self, model: nn.Module, cut: bool = True, share: bool = True, slices: bool = True) -> None:
        part: Any = getattr(model, "text", model)
        self.part = part.eval().requires_grad_(False)
        self.pool: str = getattr(part, "text_pool_type", None) or part.pool_type
        self.end_id: int = getattr(part, "text_eos_id", getattr(part, "eos_id", -1))
        self.length: int = part.context_length
        self.width: int = part.positional_embedding.shape[1]
        projection = part.text_projection
        layer = isinstance(projection, nn.Linear)
        self.dim: int = self.width if projection is None else projection.out_features if layer else projection.shape[1]
        self.causal: bool = part.attn_mask is not None
        self._of_class: bool = getattr(part, "cls_emb", None) is not None  # a token behind the text, as CoCa's
        # The token that stands for a text is found by what it is, or stands behind all of it.
        self.by_token = self.pool in ("argmax", "eos") or self._of_class
        self._slices = slices
        self._cut = cut and self.causal and self.by_token
        self.usual = blocks.fit(part.transformer)  # so that what `blocks` writes out is what they do
        self.shares = share and self._cut and self.usual

    def embedded(self, tokens: Tensor) -> Tensor:
        """The embeddings `(…, W)` of tokens, without their positions."""
        return self.part.token_embedding(tokens.to(self.part.positional_embedding.device)).float()

    @as_the_step_asks
    def __call__(self, layout: Layout, context: Tensor) -> Tensor:
        """Texts `(R, K, D)`, not unit, of contexts `(R, M, W)` or `(R, K, M, W)`."""
        start, own, last, seen = self.embedded(layout.start), self.whole(layout), self.ends(layout), self.seen(layout)
        step = self._slice(len(context), own.shape)
        if step >= len(own):
            return self._run(start, context, own, last, seen)
        parts = [
            checkpoint(
                self._run,
                start,
                context if context.dim() == 3 else context[:, rows],
                own[rows],
                last[rows],
                None if seen is None else seen[rows],
                use_reentrant=False,
                preserve_rng_state=False,  # nothing is drawn
            )
            for rows in (slice(at, at + step) for at in range(0, len(own), step))
        ]
        return torch.cat(parts, 1)

    def whole(self, layout: Layout) -> Tensor:
        """The embeddings of the texts' own tokens `(K, S, W)`: up to the longest text, or to the tower's length.

        Behind them comes the token of the class, where the tower has one.
        """
        own = self.embedded(self._needed(layout))
        if not self._of_class:
            return own
        return torch.cat([own, self.part.cls_emb.float().expand(len(own), 1, -1)], 1)

    def _needed(self, layout: Layout) -> Tensor:
        """The own tokens that run: `(K, S)`."""
        # CoCa's mask is one token late: the first of the padding is seen.
        return layout.own[:, : layout.longest + self._of_class] if self._cut else layout.own

    def ends(self, layout: Layout) -> Tensor:
        """The place, among a text's own tokens, of the one that stands for it, `(K,)`."""
        return layout.last if not self._of_class else torch.full_like(layout.last, self._needed(layout).shape[1])

    def seen(self, layout: Layout) -> Tensor | None:
        """Which of its own tokens are seen by those behind them, `(K, S)`; None for all.

        As open_clip has it: in CoCa's published weights each token's place counts as padding if the one before is.
        """
        if not self._of_class:
            return None
        words = layout.own != self.part.pad_id
        always = torch.ones_like(words[:, :1])
        needed = self._needed(layout).shape[1]
        if self.part.correct_cls_mask:
            return torch.cat([words[:, :needed], always], 1)
        return torch.cat([always, words[:, : needed - 1], words[:, -1:]], 1)

    def unseen(self, length: int, seen: Tensor | None) -> Tensor | None:
        """What each of so many tokens does not see, `(L, L)` or `(K, L, L)`: `seen` says it of the last ones."""
        if not self.causal:
            return None
        mask = blocks.behind(length, self.part.positional_embedding.device)
        if seen is None:
            return mask
        before = torch.ones_like(seen[:, :1]).expand(-1, length - seen.shape[1])
        return mask | ~torch.cat([before, seen], 1)[:, None]

    def placed(self, start: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens `start (…, P, W)` and `own (…, K, S, W)` behind them, with their positions."""
        positions, first = self.part.positional_embedding.float(), start.shape[-2]
        after = positions[first : first + own.shape[-2]]
        if self._of_class:
            after = torch.cat([after[: own.shape[-2] - 1], positions[-1:]])
        return start + positions[:first], own + after

    def _slice(self, replicas: int, shape: torch.Size) -> int:
        """How many texts of each replica run at once: a function of the shapes alone."""
        count, length, width = shape
        layers = len(self.part.transformer.resblocks)
        size = 4 * KEPT * replicas * length * width * layers
        return max(1, min(count, ACTIVATIONS // size)) if self._slices and torch.is_grad_enabled() else count

    def _run(self, start: Tensor, context: Tensor, own: Tensor, last: Tensor, seen: Tensor | None) -> Tensor:
        replicas, texts = len(context), len(own)
        shared, own = start.expand(replicas, -1, -1), own.expand(replicas, -1, -1, -1)
        if context.dim() == 3:
            shared = torch.cat([shared, context], 1)
        else:  # each class has contexts of its own
            own, last = torch.cat([context, own], 2), last + context.shape[2]
        shared, own = self.placed(shared, own)
        first, made = shared.shape[1], blocks.adapted(self.part.transformer)
        if self.shares and first:
            return self.projected(blocks.ends(made, own, last, self.unseen(own.shape[2], seen), shared))
        whole = torch.cat([shared[:, None].expand(-1, texts, -1, -1), own], 2)
        if seen is not None:
            return self.projected(blocks.ends(made, whole, first + last, self.unseen(whole.shape[2], seen)))
        return self._all(whole, first + last)

    def _all(self, x: Tensor, last: Tensor) -> Tensor:
        """Every token of every text `x (R, K, L, W)` through the tower's own blocks."""
        mask = self.part.attn_mask
        mask = None if mask is None else mask[: x.shape[2], : x.shape[2]]
        self.part.transformer.grad_checkpointing = is_sparing()
        out = self.part.transformer(x.flatten(0, 1), attn_mask=mask).unflatten(0, x.shape[:2])
        if not self.by_token:
            return self.projected(out[:, :, 0 if self.pool == "first" else -1])
        return self.projected(out[:, torch.arange(x.shape[1], device=x.device), last])

    def projected(self, x: Tensor, own: blocks.Norm | None = None) -> Tensor:
        """Texts `(R, K, D)` from what the blocks make of the tokens that stand for them `(R, K, W)`."""
        x = blocks.normalized(self.part.ln_final, x, own)
        projection = self.part.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection
