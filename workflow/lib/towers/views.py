"""Random crops of images that are cut to the model's size, drawn anew in every step."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample

RATIO = (3 / 4, 4 / 3)  # of a crop's width to its height, drawn evenly in the logarithm


class Views(nn.Module):
    """Rows `(B, H W 3)` of bytes to rows of numbers from 0 to 255: in training a crop of each image, at its size again.

    A crop keeps a share of the image's area from `least` up, and half of them are mirrored if `flip`. Outside training
    the rows stay as they are. PyTorch's generator is that of the replica then.
    """

    def __init__(self, least: float, flip: bool, height: int, width: int) -> None:
        super().__init__()
        self._least, self._flip, self._size = least, flip, (height, width)

    def forward(self, rows: Tensor) -> Tensor:
        if not self.training:
            return rows
        images = rows.reshape(-1, *self._size, 3).permute(0, 3, 1, 2).float()
        grid = affine_grid(self._boxes(rows), list(images.shape), align_corners=False)
        seen = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return seen.permute(0, 2, 3, 1).flatten(1)

    def _boxes(self, rows: Tensor) -> Tensor:
        """The maps `(B, 2, 3)` from a view's places to the image's, both from −1 to 1."""
        area, ratio, left, top, turned = torch.rand(5, len(rows), device=rows.device)
        area = self._least + (1 - self._least) * area
        low, high = (torch.tensor(edge, device=rows.device).log() for edge in RATIO)
        aspect = torch.exp(low + (high - low) * ratio).clamp(area, 1 / area)  # no side is longer than the image's
        wide, tall = (area * aspect).sqrt(), (area / aspect).sqrt()
        x, y = (1 - wide) * (2 * left - 1), (1 - tall) * (2 * top - 1)
        sign = torch.where(turned < 0.5, -1.0, 1.0) if self._flip else torch.ones_like(turned)
        nothing = torch.zeros_like(x)
        return torch.stack([torch.stack([sign * wide, nothing, x], -1), torch.stack([nothing, tall, y], -1)], 1)
