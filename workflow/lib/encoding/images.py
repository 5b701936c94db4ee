"""Image files to tensors: decoded and cropped one by one, made numbers a whole batch at a time."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pi_heif import register_heif_opener
from PIL import Image
from torchvision.transforms import Compose, Normalize, ToTensor

from workflow.lib.encoding import depth
from workflow.lib.errors import UserError, one_line

register_heif_opener()  # HEIC, in which telephones keep photographs

_ORIENTATION = 0x0112  # the EXIF tag
_OF_THE_SYSTEM = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """The largest image that is decoded, in `pixels`, and the most that one side may be times the other, `aspect`.

    Pillow takes what is larger for a bomb, and what is longer unpacks to one when its shorter side is made a model's.
    """

    pixels: int = 178_956_970
    aspect: int = 100


class BadImageError(UserError):
    """A file that can't be read as an image: its path, and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


def open_rgb(path: Path, limits: Limits = Limits()) -> Image.Image:
    """The image as RGB, wholly decoded and upright, as viewers show it.

    Its `info` has the `depth` that its values were taken for, where its file has 16 bits. Raises `BadImageError`.
    """
    try:
        with Image.open(path) as image:
            _check_size(image, limits)
            raw = depth.rawmode(image)
            image.load()
            return _upright(_rgb(image, path, raw), image.getexif().get(_ORIENTATION, 1))
    except FileNotFoundError as error:
        raise BadImageError(path, "no such image") from error
    except Image.DecompressionBombError as error:  # by Pillow itself, before its size can be asked for
        pixels = next(iter(re.findall(r"\d+", str(error))), "")
        raise BadImageError(path, f"not read: {_too_large(f'{pixels} pixels', limits, pixels)}") from error
    except Exception as error:  # a decoder that meets a damaged file may raise anything
        reason = one_line(error) or type(error).__name__
        raise BadImageError(path, f"not a readable image ({reason})") from error


def allow(limits: Limits) -> None:
    """Let Pillow open what the limits let in: its own limit holds for the whole process."""
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limits.pixels)


def _check_size(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    longer, shorter = max(image.size), max(1, min(image.size))
    if longer > limits.aspect * shorter:
        raise ValueError(
            f"{width} x {height} pixels: one side is over {limits.aspect} times the other; "
            f"`max_aspect: {-(-longer // shorter)}` in the dataset's entry lets it in"
        )
    if width * height > limits.pixels:
        raise ValueError(_too_large(f"{width} x {height} pixels", limits, width * height))


def _too_large(size: str, limits: Limits, pixels: int | str) -> str:
    return f"{size}, over {limits.pixels} in all; `max_pixels: {pixels}` in the dataset's entry lets it in"


def _upright(rgb: Image.Image, orientation: int) -> Image.Image:
    """The image turned as its camera noted."""
    turn = _TURNS.get(orientation)
    return rgb if turn is None else rgb.transpose(turn)


def _rgb(image: Image.Image, path: Path, raw: str) -> Image.Image:
    """8 bits a channel. Where Pillow would clip or cut values of 16, they are scaled."""
    if depth.is_grey(image):
        return depth.grey(image, raw)
    if depth.is_colour(raw):
        with Image.open(path) as again:
            return depth.colour(image, again, raw).convert("RGB")
    if image.mode == "RGB":
        return image  # to convert it is to copy it: a sixth of the time that a photograph takes
    if image.mode in ("I", "F"):
        raise ValueError(f"32 bits a pixel (mode {image.mode}), allowed: 8 or 16")
    return image.convert("RGB")


class Reader:
    """Opens the images of an extraction. Threads may share it.

    A file that can't be read raises `BadImageError`. With `skip` it stands in `left_out` with the reason, and a black
    pixel in its place: who asked for it keeps the order of the images, and throws away what comes of this one.
    """

    def __init__(self, limits: Limits = Limits(), skip: bool = False) -> None:
        self._limits, self._skip = limits, skip
        self.left_out: dict[Path, str] = {}
        self._deep: dict[Path, int] = {}
        allow(limits)

    def __call__(self, path: Path) -> Image.Image:
        try:
            image = open_rgb(path, self._limits)
        except BadImageError as error:
            if not self._skip or is_of_the_system(error.__cause__):
                raise
            self.left_out[path] = error.reason
            return Image.new("RGB", (1, 1))
        if bits := image.info.get(depth.KEY):
            self._deep[path] = bits
        return image

    def depths(self) -> list[str]:
        """A line for every depth that files of 16 bits were taken for."""
        return [
            f"images of 16 bits whose values have {bits}, scaled by white at {2**bits - 1}: {len(paths)}, "
            f"the first {min(paths)}"
            for bits in sorted(set(self._deep.values()))
            if (paths := [path for path, own in self._deep.items() if own == bits])
        ]


def is_of_the_system(cause: BaseException | None) -> bool:
    """Whether the machine failed and not the file: leaving images out would make that a result."""
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _OF_THE_SYSTEM)


class Preprocess:
    """A model's preprocessing in two halves: `load` on image files, `finish` on the batch that they make.

    The last two steps of open_clip's transform, to floats and normalised, work element by element: on a batch of bytes
    they give the same bits as on one image after the other, in fewer calls, and after a transfer of a quarter of the
    size.
    """

    def __init__(self, transform: Compose, opened: Callable[[Path], Image.Image] = open_rgb) -> None:
        *steps, to_tensor, normalize = transform.transforms
        if not (isinstance(to_tensor, ToTensor) and isinstance(normalize, Normalize)):
            raise ValueError(f"the transform does not end in ToTensor and Normalize: {transform}")
        self._crop, self._opened = Compose(steps), opened
        self._normalize = Normalize(normalize.mean, normalize.std, inplace=True)

    def load(self, paths: Sequence[Path]) -> torch.Tensor:
        """The images as one batch of bytes `(N, H, W, 3)`. Raises `BadImageError` for one that can't be read."""
        return torch.from_numpy(np.stack([np.asarray(self._crop(self._opened(path))) for path in paths]))

    def finish(self, batch: torch.Tensor) -> torch.Tensor:
        """The batch as the model wants it, float32 `(N, 3, H, W)`, on the device where it lies."""
        # Bytes are a quarter of the memory to walk through across the grain, so they are put in order first.
        floats = batch.permute(0, 3, 1, 2).contiguous().float().div_(255)
        finished: torch.Tensor = self._normalize(floats)
        return finished
