"""Transformer blocks over tokens of R replicas, which may have parts of their own in them, without what is needless.

In a tower with a causal mask tokens that stand behind others are not seen by them. So of texts that begin with the same
tokens, the keys and values of these are the same in every block, and each text's own tokens need them and nothing else
of what is before. And of the last block only the token that stands for a text or an image is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention

from methods.contract.adaptation import Adaptation, LowRank
from workflow.lib.jobs.memory import spared

Norm = tuple[Tensor, Tensor]  # weight and bias (R, W)


def fit(transformer: Any) -> bool:
    """Whether the blocks are of the usual kind, which is written out here."""
    return all(type(block) is ResidualAttentionBlock and _plain(block.attn) for block in transformer.resblocks)


def _plain(attention: Any) -> bool:
    return (
        isinstance(attention, nn.MultiheadAttention)
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and attention.dropout == 0
    )


def adapted(transformer: Any, adaptation: Adaptation | None = None, first: int = 0) -> list[Block]:
    """The blocks with what replicas have of their own in them. Of LayerNorms `first` stand before the blocks."""
    blocks, own = list(transformer.resblocks), adaptation or Adaptation()
    low_rank = own.low_rank
    below = len(blocks) - (len(low_rank.down[0]) if low_rank else 0)
    return [
        Block(
            block,
            [norm(own, first + 2 * i), norm(own, first + 2 * i + 1)],
            low_rank.of(i - below) if low_rank and i >= below else None,
        )
        for i, block in enumerate(blocks)
    ]


def norm(adaptation: Adaptation | None, place: int) -> Norm | None:
    """The replicas' own weights and biases of a tower's LayerNorm at a place; None where they have none."""
    own = adaptation.norms if adaptation else None
    return (own.weight[:, place], own.bias[:, place]) if own else None


def normalized(layer: Any, x: Tensor, own: Norm | None) -> Tensor:
    """A LayerNorm of tokens `(R, …, W)`, with the replicas' own weights and biases where they have some."""
    if own is None:
        found: Tensor = layer(x)
        return found
    weight, bias = (one.view(len(one), *[1] * (x.dim() - 2), -1) for one in own)
    return torch.addcmul(bias, layer_norm(x, layer.normalized_shape, eps=layer.eps), weight)


class Block:
    """A block of the usual kind over tokens `(R, …, L, W)`."""

    def __init__(self, block: Any, norms: Sequence[Norm | None], low_rank: LowRank | None) -> None:
        self._block, self._norms, self._low_rank = block, norms, low_rank

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values `(R, …, h, L, d)`."""
        attention = self._block.attn
        x = normalized(self._block.ln_1, x, self._norms[0])
        together = linear(x, attention.in_proj_weight, attention.in_proj_bias)
        if self._low_rank:
            together = _raised(together, x, self._low_rank)
        parts = together.view(*x.shape[:-1], 3, attention.num_heads, -1).movedim(-3, 0)  # (3, …, L, h, d)
        q, k, v = parts.transpose(-2, -3).unbind(0)
        return q, k, v

    def finished(self, x: Tensor, seen: Tensor) -> Tensor:
        """The rest of the block, from what attention has seen `(R, …, h, L, d)`."""
        block, attention = self._block, self._block.attn
        joined = seen.transpose(-2, -3).flatten(-2)
        x = x + block.ls_1(linear(joined, attention.out_proj.weight, attention.out_proj.bias))
        return x + block.ls_2(block.mlp(normalized(block.ln_2, x, self._norms[1])))


def _raised(together: Tensor, x: Tensor, own: LowRank) -> Tensor:
    """Queries, keys and values `(R, …, 3 W)` of tokens `x (R, …, W)` with each replica's low-rank products."""
    rows, bases = x.flatten(1, -2), together.flatten(1, -2).chunk(3, -1)
    parts = zip(bases, own.down.unbind(1), own.up.unbind(1), strict=True)
    found = [torch.baddbmm(base, own.drop(rows) @ down.mT * own.scale, up.mT) for base, down, up in parts]
    return torch.cat(found, -1).view_as(together)


def behind(length: int, device: torch.device) -> Tensor:
    """What a causal mask hides of so many tokens, `(S, S)`: from each those that stand behind it."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


def ends(
    blocks: Sequence[Block], own: Tensor, last: Tensor, unseen: Tensor | None = None, shared: Tensor | None = None
) -> Tensor:
    """What the blocks make of the token `last (K,)` of each of K texts or images: `(R, K, W)`, of R sets of them.

    `own (R, K, S, W)` are their tokens, with their positions. `unseen (S, S)` or `(K, S, S)` says which of them a token
    does not see. `shared (R, P, W)` stand before them in all texts of a set, where there is a causal mask.
    """
    for block in blocks[:-1]:
        known = None
        if shared is not None:
            q, k, v = block.projected(shared)  # (R, h, P, d)
            known = k, v
            shared = block.finished(shared, scaled_dot_product_attention(q, k, v, is_causal=True))
        own = spared(_own, block, own, known, None, unseen)
    final = blocks[-1]
    known = None if shared is None else final.projected(shared)[1:]
    found: Tensor = spared(_own, final, own, known, last, unseen)
    return found[:, :, 0]


def through(blocks: Sequence[Block], x: Tensor, unseen: Tensor | None = None) -> Tensor:
    """What the blocks make of all tokens `(R, K, L, W)`."""
    for block in blocks:
        x = spared(_own, block, x, None, None, unseen)
    return x


def _own(
    block: Block, x: Tensor, known: tuple[Tensor, Tensor] | None, last: Tensor | None, unseen: Tensor | None
) -> Tensor:
    """A block over tokens `x (R, K, S, W)`, of the token `last` of each alone where it is given.

    `known` are the keys and values `(R, h, P, d)` of what stands before all of them.
    """
    q, k, v = block.projected(x)  # (R, K, h, S, d)
    if unseen is not None and unseen.dim() > 2:
        unseen = unseen[:, None]  # the same for each head
    if last is not None:
        x, q = _at(x, last, 2), _at(q, last, 3)
        unseen = None if unseen is None else _at(unseen.expand(len(last), 1, -1, -1)[None], last, 3)[0]
    if known is None:
        return block.finished(x, _seen(q, k, v, unseen))
    return block.finished(x, _seen_with(q, k, v, known, unseen))


def _seen(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor | None) -> Tensor:
    """What attention sees `(R, K, h, S, d)`; one kernel does it for tokens of three sizes before theirs, not four."""
    allowed = None if unseen is None else ~unseen
    if allowed is not None and allowed.dim() > 2:
        allowed = allowed.expand(len(q), *allowed.shape).flatten(0, 1)
    flat = [part.flatten(0, 1) for part in (q, k, v)]
    return scaled_dot_product_attention(flat[0], flat[1], flat[2], attn_mask=allowed).view(q.shape)


def _seen_with(q: Tensor, k: Tensor, v: Tensor, known: tuple[Tensor, Tensor], unseen: Tensor | None) -> Tensor:
    """Likewise, with the keys and values of what stands before all of them."""
    shared_k, shared_v = known
    scale = q.shape[-1] ** -0.5
    within = q @ (scale * k).mT
    within = within if unseen is None else within.masked_fill(unseen, -torch.inf)
    weights = torch.cat([_product(q, (scale * shared_k).mT), within], -1).softmax(-1)
    of_shared, of_own = torch.split(weights, [shared_k.shape[-2], k.shape[-2]], -1)
    return _product(of_shared, shared_v) + of_own @ v


def _product(x: Tensor, shared: Tensor) -> Tensor:
    """`x (R, K, h, S, a)` times `shared (R, h, a, b)`: for each set and head one product for all texts."""
    by_head = x.movedim(2, 1)
    found = by_head.flatten(2, 3) @ shared
    return found.view(*by_head.shape[:4], -1).movedim(1, 2)


def _at(x: Tensor, last: Tensor, dim: int) -> Tensor:
    """Of each text its token `last`, with the dimension of tokens kept: `x (R, K, …)`."""
    shape = [1, len(last), *[1] * (x.dim() - 2)]
    index = last.view(shape).expand(*(1 if i == dim else size for i, size in enumerate(x.shape)))
    return x.gather(dim, index)
