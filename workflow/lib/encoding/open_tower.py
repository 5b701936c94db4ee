"""What an image tower knows beside its pooled embedding: the vector before the last projection, and its tokens.

open_clip's towers give the embedding and keep the rest. An open tower is one of them with its last layer taken off, so
that both sides of it can be seen; every product is the model's own, of the same sizes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch.nn import functional

Parts = tuple[torch.Tensor, torch.Tensor]


class OpenTower:
    """An image tower without its projection.

    `weight (D', D)` and `bias (D,)`, or None, are the projection. Raises ValueError, with the reason, for a tower whose
    last layer is no projection that is known here.
    """

    def __init__(self, visual: torch.nn.Module) -> None:
        self.weight: torch.Tensor
        self.bias: torch.Tensor | None = None
        self._lens: torch.nn.Module | None = None
        self.no_tokens = ""  # why its tokens go through no head of their own
        if isinstance(visual, VisionTransformer) and visual.proj is not None:
            self._of_transformer(visual)
        elif isinstance(visual, ModifiedResNet) and isinstance(visual.attnpool, AttentionPool2d):
            self._of_resnet(visual)
        else:
            raise ValueError(f"its image tower, a {type(visual).__name__}, has no last projection that is known here")

    def _of_transformer(self, visual: Any) -> None:
        self._tower, self.weight = _shallow(visual), visual.proj
        self._tower.proj, self._tower.output_tokens = None, True
        if visual.attn_pool is not None:
            self.no_tokens = "its image tower pools by attention, and its tokens go through no head"
        self._lens = visual.ln_post if visual.final_ln_after_pool else None

    def _of_resnet(self, visual: Any) -> None:
        self._tower, pool = _shallow(visual), visual.attnpool
        self._tower.attnpool = _EveryPosition(pool)
        self.weight, self.bias = pool.c_proj.weight.T, pool.c_proj.bias

    def __call__(self, images: torch.Tensor) -> Parts:
        """The vectors before the projection `(N, D')`, and the tokens there `(N, HW, D')`."""
        pooled, tokens = self._tower(images)
        return pooled, tokens if self._lens is None else self._lens(tokens)

    def projected(self, before: torch.Tensor) -> torch.Tensor:
        """Embeddings `(…, D)` of what stands before the projection `(…, D')`."""
        after = before @ self.weight
        return after if self.bias is None else after + self.bias


class _EveryPosition(torch.nn.Module):
    """A ResNet's attention pool, whose queries are all positions, without its projection.

    The model's own keeps the first of them, the mean image's.
    """

    def __init__(self, pool: AttentionPool2d) -> None:
        super().__init__()
        self._pool = pool
        self._same = torch.eye(
            pool.c_proj.in_features, dtype=pool.c_proj.weight.dtype, device=pool.c_proj.weight.device
        )

    def forward(self, x: torch.Tensor) -> Parts:
        """Pooled `(N, D')` and tokens `(N, HW, D')` of a feature map `(N, D', H, W)`."""
        pool: Any = self._pool
        x = x.flatten(2).permute(2, 0, 1)
        x = torch.cat([x.mean(0, keepdim=True), x]) + pool.positional_embedding[:, None].to(x.dtype)
        every, _ = functional.multi_head_attention_forward(
            query=x,
            key=x,
            value=x,
            embed_dim_to_check=x.shape[-1],
            num_heads=pool.num_heads,
            in_proj_weight=None,
            in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=self._same,  # what comes out has not been projected
            out_proj_bias=None,
            training=False,
            need_weights=False,
            use_separate_proj_weight=True,
            q_proj_weight=pool.q_proj.weight,
            k_proj_weight=pool.k_proj.weight,
            v_proj_weight=pool.v_proj.weight,
        )
        every = every.transpose(0, 1)
        return every[:, 0], every[:, 1:]


def _shallow(module: torch.nn.Module) -> Any:
    """A module with the same weights, in which parts can be exchanged without the original's noticing."""
    made = copy.copy(module)
    made._parameters, made._modules = dict(module._parameters), dict(module._modules)
    return made


def spatial_logits(
    embedding: torch.Tensor, tokens: torch.Tensor, text: torch.Tensor, logit_scale: float
) -> torch.Tensor:
    """What CALIP's attention between an image's tokens and the class texts adds to its logits, `(N, 2, K)`.

    Of embeddings `(N, D)`, tokens `(N, HW, D)` and unit class texts `(K, D)`: with g and P the unit embedding and
    tokens of an image and `A = 2 P T^T`, `l₁ = s (g P^T) softmax_HW(A)`, and `l₂ = s v T^T` with
    `v = mean_p + max_p` of `softmax_K(A) T` (arXiv:2209.14169).
    """
    g, p = functional.normalize(embedding, dim=-1), functional.normalize(tokens, dim=-1)
    attention = 2 * p @ text.T
    first = torch.einsum("np,npk->nk", torch.einsum("nd,npd->np", g, p), attention.softmax(1))
    read = attention.softmax(2) @ text
    second = (read.mean(1) + read.amax(1)) @ text.T
    return logit_scale * torch.stack([first, second], 1)
