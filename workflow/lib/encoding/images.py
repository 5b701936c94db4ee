"""Image files to tensors: decoded and cropped one by one, made numbers a whole batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pi_heif import register_heif_opener
from PIL import Image, ImageOps
from torchvision.transforms import Compose, Normalize, ToTensor

from workflow.lib.errors import UserError, one_line

register_heif_opener()  # HEIC, in which telephones keep photographs

_LONGEST = 100  # times the shorter side: the shorter one is scaled to a model's size, and the longer one with it
_ORIENTATION = 0x0112  # the EXIF tag


def open_rgb(path: Path) -> Image.Image:
    """The image as RGB, wholly decoded and upright, as viewers show it.

    Raises `UserError` with its path where it can't be.
    """
    try:
        with Image.open(path) as image:
            if max(image.size) > _LONGEST * min(image.size):
                raise ValueError(f"{image.width} x {image.height} pixels: one side is over {_LONGEST} times the other")
            image.load()
            return _rgb(_upright(image))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image") from error
    except Exception as error:  # a decoder that meets a damaged file may raise anything
        reason = one_line(error) or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason})") from error


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its camera noted."""
    turned = image.getexif().get(_ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(image) if turned else image


def _rgb(image: Image.Image) -> Image.Image:
    """8 bits a channel. Where Pillow would clip what is darker or brighter than these, 16 bits are scaled."""
    if image.mode == "RGB":
        return image  # to convert it is to copy it: a sixth of the time that a photograph takes
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32 bits a pixel (mode {image.mode}), allowed: 8 or 16")
    return image.convert("RGB")


class Preprocess:
    """A model's preprocessing in two halves: `load` on image files, `finish` on the batch that they make.

    The last two steps of open_clip's transform, to floats and normalised, work element by element: on a batch of bytes
    they give the same bits as on one image after the other, in fewer calls, and after a transfer of a quarter of the
    size.
    """

    def __init__(self, transform: Compose) -> None:
        *steps, to_tensor, normalize = transform.transforms
        if not (isinstance(to_tensor, ToTensor) and isinstance(normalize, Normalize)):
            raise ValueError(f"the transform does not end in ToTensor and Normalize: {transform}")
        self._crop = Compose(steps)
        self._normalize = Normalize(normalize.mean, normalize.std, inplace=True)

    def load(self, paths: Sequence[Path]) -> torch.Tensor:
        """The images as one batch of bytes `(N, H, W, 3)`. Raises `UserError` for one that can't be read."""
        return torch.from_numpy(np.stack([np.asarray(self._crop(open_rgb(path))) for path in paths]))

    def finish(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch as the model wants it, float32 `(N, 3, H, W)`, on the device where it lies."""
        # Bytes are a quarter of the memory to walk through across the grain, so they are put in order first.
        floats = batch.permute(0, 3, 1, 2).contiguous().float().div_(255)
        finished: torch.Tensor = self._normalize(floats)
        return finished
