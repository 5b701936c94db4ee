"""The blocks of a causal text tower over texts that begin alike: what they share is computed once.

Tokens that stand behind others are not seen by them. So of texts that begin with the same tokens, the keys and values
of these are the same in every block, and each text's own tokens need them and nothing else of what is before.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


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


def ends(transformer: Any, shared: Tensor, own: Tensor, last: Tensor) -> Tensor:
    """What the blocks make of each text's token `last (K,)`: `(R, K, W)`, of R sets of K texts.

    `shared (R, P, W)` are the tokens, with their positions, that all texts of a set begin with, and `own (R, K, S, W)`
    those that follow in each.
    """
    blocks = transformer.resblocks
    for i, block in enumerate(blocks):
        final = i == len(blocks) - 1
        q, k, v = _projected(block, shared)  # (R, h, P, d)
        own = _own(block, own, k, v, last if final else None)
        if not final:
            seen = scaled_dot_product_attention(q, k, v, is_causal=True)
            shared = _finished(block, shared, seen)
    return own[:, :, 0]


def _projected(block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values `(…, h, L, d)` of tokens `(…, L, W)`."""
    attention = block.attn
    together = linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    parts = together.view(*x.shape[:-1], 3, attention.num_heads, -1).movedim(-3, 0)  # (3, …, L, h, d)
    q, k, v = parts.transpose(-2, -3).unbind(0)
    return q, k, v


def _own(block: Any, x: Tensor, shared_k: Tensor, shared_v: Tensor, last: Tensor | None) -> Tensor:
    """A block over each text's own tokens `(R, K, S, W)`; of the token `last` of each alone where it is given."""
    q, k, v = _projected(block, x)  # (R, K, h, S, d)
    length = x.shape[2]
    mask = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)  # what no token sees
    if last is not None:
        x, q = _at(x, last, 2), _at(q, last, 3)
        mask = mask[last][:, None, None]
    scale = q.shape[-1] ** -0.5
    within = (q @ (scale * k).mT).masked_fill(mask, -torch.inf)
    weights = torch.cat([_product(q, (scale * shared_k).mT), within], -1).softmax(-1)
    of_shared, of_own = torch.split(weights, [shared_k.shape[-2], length], -1)
    return _finished(block, x, _product(of_shared, shared_v) + of_own @ v)


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


def _finished(block: Any, x: Tensor, seen: Tensor) -> Tensor:
    """The rest of a block, from what attention has seen `(…, h, L, d)`."""
    attention = block.attn
    joined = seen.transpose(-2, -3).flatten(-2)
    x = x + block.ls_1(linear(joined, attention.out_proj.weight, attention.out_proj.bias))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
