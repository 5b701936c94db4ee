"""Augmented views of training images, as CLIP is usually trained with few shots, and the same ones every time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from workflow.lib.encoding.images import open_rgb

_STREAM = 0x7669657773  # the constant in every seed of a view
_ATTEMPTS = 10  # at a crop that fits into the image

Box = tuple[int, int, int, int]  # top, left, height, width, in pixels


@dataclass(frozen=True)
class Augmentation:
    """A random crop, resized to `size (H, W)` by bicubic interpolation, then mirrored with probability `flip`.

    The crop's share of the area is drawn from `scale`, its width over its height from `ratio`, evenly in the logarithm.
    What is drawn depends on the image's row and the view's number alone.
    """

    size: tuple[int, int]
    flip: float = 0.5
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def describe(self) -> dict[str, Any]:
        """All of it in JSON, for the metadata."""
        return {**asdict(self), "interpolation": "bicubic", "stream": _STREAM}

    def view(self, image: Image.Image, row: int, number: int) -> Image.Image:
        """View `number` of the image that is `row` in its split."""
        rng = np.random.default_rng([_STREAM, row, number])
        box = self.box(image.height, image.width, rng)
        crop = functional.resized_crop(image, *box, list(self.size), InterpolationMode.BICUBIC, antialias=True)
        return functional.horizontal_flip(crop) if rng.random() < self.flip else crop

    def box(self, height: int, width: int, rng: np.random.Generator) -> Box:
        """The crop of an image of this size; where none fits, the largest in the middle whose ratio is allowed."""
        for _ in range(_ATTEMPTS):
            area = height * width * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        low, high = self.ratio
        w, h = max(1, min(width, round(height * high))), max(1, min(height, round(width / low)))
        return (height - h) // 2, (width - w) // 2, h, w


def load(
    augmentation: Augmentation,
    count: int,
    images: Sequence[tuple[int, Path]],
    opened: Callable[[Path], Image.Image] = open_rgb,
) -> torch.Tensor:
    """`count` views of each `(row, file)`, one image after the other, as bytes `(N · count, H, W, 3)`.

    Each file is decoded once. Raises `BadImageError` for one that can't be read.
    """
    there = ((row, opened(path)) for row, path in images)
    views = [augmentation.view(image, row, number) for row, image in there for number in range(count)]
    return torch.from_numpy(np.stack([np.asarray(view) for view in views]))
