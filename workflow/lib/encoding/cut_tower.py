"""An image tower cut before its last blocks: what goes into them, and what they and the rest of the tower make of it.

For open_clip's own ViTs, CoCa's among them, its ResNets, whose blocks are bottlenecks, and timm's ViTs, such as
SigLIP's. Every product is the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.vision_transformer import VisionTransformer as TimmTransformer

from workflow.lib.jobs.memory import spared

Step = Callable[[Any, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """How a tower of a kind runs: `begin` on images, its blocks one after the other, and `finish` to embeddings.

    `holders` are the containers of its blocks, in order. `started` are the parts of the tower, or of its `trunk`, that
    `begin` alone needs.
    """

    begin: Step
    holders: Callable[[Any], Sequence[Any]]
    finish: Step
    started: Sequence[str]
    trunk: str = ""


def _vit_finish(visual: Any, x: torch.Tensor) -> torch.Tensor:
    pooled, _ = visual._pool(x)
    embedding: torch.Tensor = pooled if visual.proj is None else pooled @ visual.proj
    return embedding


def _timm_begin(visual: Any, images: torch.Tensor) -> torch.Tensor:
    trunk = visual.trunk
    x: torch.Tensor = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(images))))
    return x


_VIT = Kind(
    lambda visual, images: visual._embeds(images),
    lambda visual: [visual.transformer.resblocks],
    _vit_finish,
    ("conv1", "class_embedding", "positional_embedding", "patch_dropout", "ln_pre"),
)
_RESNET = Kind(
    lambda visual, images: visual.stem(images),
    lambda visual: [visual.layer1, visual.layer2, visual.layer3, visual.layer4],
    lambda visual, x: visual.attnpool(x),
    (*(f"{part}{i}" for part in ("conv", "bn", "act") for i in (1, 2, 3)), "avgpool"),
)
_TIMM = Kind(
    _timm_begin,
    lambda visual: [visual.trunk.blocks],
    lambda visual, x: visual.head(visual.trunk.forward_head(visual.trunk.norm(x))),
    ("patch_embed", "pos_embed", "cls_token", "reg_token", "pos_drop", "patch_drop", "norm_pre"),
    trunk="trunk",
)


def kind_of(visual: torch.nn.Module) -> Kind:
    """How a tower runs. Raises ValueError, with the reason, for one that can't be cut here."""
    if isinstance(visual, VisionTransformer):
        return _VIT
    if isinstance(visual, ModifiedResNet) and isinstance(visual.attnpool, AttentionPool2d):
        return _RESNET
    if isinstance(visual, TimmModel) and type(visual.trunk) is TimmTransformer:
        return _TIMM
    found = getattr(visual, "trunk", visual)
    raise ValueError(f"its image tower, a {type(found).__name__}, has no blocks that are known here")


def places(visual: torch.nn.Module) -> list[tuple[Any, str]]:
    """Where each block is, in the order in which they run: its container, and its name there."""
    return [(holder, name) for holder in kind_of(visual).holders(visual) for name in holder._modules]


def last(visual: torch.nn.Module, blocks: int) -> list[tuple[Any, str]]:
    """The places of the last blocks. Raises ValueError, with the reason, where there are not as many."""
    every = places(visual)
    if blocks > len(every):
        raise ValueError(f"its image tower has {len(every)} blocks, and the last {blocks} are asked for")
    return every[len(every) - blocks :]


def before(visual: torch.nn.Module, images: torch.Tensor, blocks: int) -> torch.Tensor:
    """What goes into the last blocks, `(N, L, W)` or `(N, C, H, W)`, of preprocessed images `(N, 3, H, W)`."""
    x, after = kind_of(visual).begin(visual, images), last(visual, blocks)
    every = places(visual)
    return run(visual, x, every[: len(every) - len(after)])


def embedded(visual: torch.nn.Module, x: torch.Tensor, blocks: int) -> torch.Tensor:
    """Embeddings `(N, D)` of what goes into the last blocks."""
    return kind_of(visual).finish(visual, run(visual, x, last(visual, blocks)))


def whole(visual: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Embeddings `(N, D)` of preprocessed images, through all of the tower."""
    kind = kind_of(visual)
    return kind.finish(visual, run(visual, kind.begin(visual, images), places(visual)))


def run(visual: Any, x: torch.Tensor, through: Sequence[tuple[Any, str]]) -> torch.Tensor:
    """`x` through some blocks."""
    turned = isinstance(visual, VisionTransformer) and not visual.transformer.batch_first
    x = x.transpose(0, 1) if turned else x
    for holder, name in through:
        x = spared(holder._modules[name], x)
    return x.transpose(0, 1) if turned else x


def drop_before(visual: torch.nn.Module, blocks: int) -> None:
    """Leave of a tower, in place, what runs from its last blocks on: the rest has no tensors then."""
    kind, after = kind_of(visual), last(visual, blocks)
    owner = getattr(visual, kind.trunk) if kind.trunk else visual
    for name in kind.started:
        if name in owner._modules:
            owner._modules[name] = torch.nn.Identity()
        elif name in owner._parameters:
            owner._parameters[name] = None
    every = places(visual)
    for holder, name in every[: len(every) - len(after)]:
        holder._modules[name] = torch.nn.Identity()
