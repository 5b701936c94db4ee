"""Arrays beside the features, from images: what stands before the projection, and what tokens add to the logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from methods.contract.base import Projection, unit
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.open_tower import OpenTower, spatial_logits


class Beside:
    """From preprocessed images `(N, 3, H, W)` to their rows of `array`: `pre (N, D')` or `spatial_logits (N, 2, K)`.

    `text` makes the embeddings of the classes `(K, T, D)`, for the logits alone. Raises ValueError, with the reason,
    where the backbone has no such array.
    """

    def __init__(self, backbone: Backbone, array: str, text: Callable[[], NDArray[np.float32]] | None) -> None:
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
