"""Images of 16 bits a channel, made 8: by the depth that their values really have.

Cameras and scanners of 10, 12 or 14 bits write files of 16 whose white is 1023, 4095 or 16383: taken for 16 bits they
are black.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
KEY = "depth"  # in an image's `info`: the bits that its values were taken for, where its file has 16
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281  # tags of TIFF
_LOST = 64  # colours that Pillow cuts to their upper bytes, and that end below it, have less than 15 bits
_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}  # the order of bytes turned round


def rawmode(image: Image.Image) -> str:
    """How the pixels lie in a file that is open and not yet decoded, such as `RGB;16B`."""
    args = image.tile[0].args if getattr(image, "tile", ()) else ""  # type: ignore[attr-defined]  # of files only
    return str(args if isinstance(args, str) else args[0]) if args else ""


def is_grey(image: Image.Image) -> bool:
    """Whether the image is grey of 16 bits. Pillow gives PGM as 32, scaled to 65535."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")


def grey(image: Image.Image, raw: str) -> Image.Image:
    """A decoded grey image of 16 bits in RGB of 8; `raw` is its `rawmode`."""
    values = np.asarray(image).astype(np.uint32)
    tags = getattr(image, "tag_v2", {})
    stated = int(np.max(tags.get(_MAX_SAMPLE_VALUE, 0)))
    scaled_by_its_own_white = image.format == "PPM" and not raw.startswith("I;16")
    if scaled_by_its_own_white:
        bits = 16
    elif (own := int(np.max(tags.get(_BITS_PER_SAMPLE, 16)))) < 16:
        bits = own
    else:
        bits = _depth(max(int(values.max(initial=0)), min(stated, 65535)))
    return _scaled(values, bits)


def colour(image: Image.Image, again: Image.Image, raw: str) -> Image.Image:
    """A decoded image of 16 bits a channel in RGB of 8; `again` is its file, opened anew and not decoded.

    Pillow keeps the upper byte of each value. Where that leaves next to nothing, the lower one is read too, by having
    Pillow take the bytes in the other order. Raises `ValueError` where it can't.
    """
    upper = np.asarray(image)[..., :3]
    if upper.max(initial=0) >= _LOST:
        return image
    if raw[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16"):
        raise ValueError(f"16 bits a channel of which less than 15 are used, as {raw}; allowed there: 8")
    again.tile = [tile._replace(args=_turned(tile.args, raw)) for tile in again.tile]  # type: ignore[attr-defined]
    lower = np.asarray(again)[..., :3]
    values = upper.astype(np.uint32) * 256 + lower
    return _scaled(values, _depth(int(values.max(initial=0))))


def is_colour(raw: str) -> bool:
    """Whether a file of this `rawmode` has colours, or grey with an alpha channel, of 16 bits."""
    return ";16" in raw and not raw.startswith("I;16")


def _turned(args: object, raw: str) -> object:
    turned = raw[:-1] + _OTHER[raw[-1]]
    return turned if isinstance(args, str) else (turned, *args[1:])  # type: ignore[index]  # a tuple, as in `rawmode`


def _depth(top: int) -> int:
    """The least usual depth that holds a value."""
    return next(bits for bits in DEPTHS if top < 2**bits)


def _scaled(values: NDArray[np.uint32], bits: int) -> Image.Image:
    white = 2**bits - 1
    image = Image.fromarray(((values * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")
    image.info[KEY] = bits
    return image
