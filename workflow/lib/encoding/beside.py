"""Arrays beside the features, from images: what stands before the projection, what tokens add to the logits, the
images themselves, and what goes into the last blocks of the image tower.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from methods.contract import needs
from methods.contract.base import Projection, unit
from workflow.lib.encoding import cut_tower
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.open_tower import OpenTower, spatial_logits

Text = Callable[[], NDArray[np.float32]] | None  # makes the embeddings of the classes (K, T, D)
GB = 10**9


class Beside(Protocol):
    """From preprocessed images `(N, 3, H, W)` to the rows of an array, on the CPU.

    `of_bytes`: from images that are cut to the model's size, bytes `(N, H, W, 3)`. `projection` comes with `pre`.
    """

    of_bytes: bool
    projection: Projection | None

    def __call__(self, images: torch.Tensor) -> torch.Tensor: ...


def of(array: str, backbone: Backbone, text: Text, images: int, most_gb: float) -> Beside:
    """What makes the rows of `array`, of so many `images` in all.

    Raises ValueError, with the reason, where the backbone has no such array, or it would take more than `most_gb`.
    """
    if not needs.is_image(array):
        return Vectors(backbone, array, text)
    made = Pixels(backbone) if array == needs.PIXELS else Blocks(backbone, needs.depth(array))
    size = images * made.row_bytes / GB
    if size > most_gb:
        raise ValueError(
            f"{images} images of {made.row_bytes} bytes each take {size:.3g} GB, and {most_gb:.3g} are allowed: "
            "`array_gb` in the dataset's entry allows more"
        )
    return made


class Vectors:
    """`pre (N, D')` or `spatial_logits (N, 2, K)`."""

    of_bytes = False

    def __init__(self, backbone: Backbone, array: str, text: Text) -> None:
        self._backbone = backbone
        with torch.inference_mode():
            self._tower = OpenTower(backbone.visual)
            self.projection = self._projection() if array == "pre" else None
        self._text: torch.Tensor | None = None
        if array == "spatial_logits":
            if text is None or self._tower.no_tokens:
                raise ValueError(self._tower.no_tokens or "the dataset has no templates")
            self._text = torch.from_numpy(unit(unit(text()).mean(1))).to(backbone.device)

    def _projection(self) -> Projection:
        weight, bias = self._tower.weight.float().cpu(), self._tower.bias
        zeros = torch.zeros(weight.shape[1])
        return Projection(weight.numpy(), (zeros if bias is None else bias.float().cpu()).numpy())

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Rows in float32 on the CPU."""
        backbone = self._backbone
        with torch.inference_mode():
            before, tokens = self._tower(images.to(backbone.device, backbone.dtype))
            if self._text is None:
                return before.float().cpu()
            embedding, each = (self._tower.projected(part).float() for part in (before, tokens))
            return spatial_logits(embedding, each, self._text, backbone.logit_scale).cpu()


class Pixels:
    """The images themselves, cut to the model's size: bytes `(N, H, W, 3)`."""

    of_bytes = True
    projection: Projection | None = None

    def __init__(self, backbone: Backbone) -> None:
        cut_tower.kind_of(backbone.visual)  # who asks for them runs the tower
        height, width = sides(backbone)
        self.row_bytes = 3 * height * width

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images


class Blocks:
    """What goes into the last blocks of the image tower, `(N, L, W)` or `(N, C, H, W)`."""

    of_bytes = False
    projection: Projection | None = None

    def __init__(self, backbone: Backbone, blocks: int) -> None:
        self._backbone, self._blocks = backbone, blocks
        self.row_bytes = 4 * shape_before(backbone, blocks).numel()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Rows in float32 on the CPU."""
        backbone = self._backbone
        with torch.inference_mode():
            images = images.to(backbone.device, backbone.dtype)
            return cut_tower.before(backbone.visual, images, self._blocks).float().cpu().contiguous()


def sides(backbone: Backbone) -> tuple[int, int]:
    """Height and width of the images that a model takes."""
    size = json.loads(backbone.preprocessing)["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def shape_before(backbone: Backbone, blocks: int) -> torch.Size:
    """The shape of what goes into the last blocks for one image. Raises ValueError where the tower can't be cut."""
    image = torch.zeros(1, 3, *sides(backbone), device=backbone.device, dtype=backbone.dtype)
    with torch.inference_mode():
        return cut_tower.before(backbone.visual, image, blocks).shape[1:]
