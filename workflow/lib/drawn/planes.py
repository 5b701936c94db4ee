"""The `planes` dataset: drawings of 100 invented aircraft, 64x64, the same pixels on every machine.

An aircraft is a handful of polygons in three dimensions, seen by a parallel projection in a random pose and
painted at three times the size. Every picture has its own generator, so it does not depend on which others were
drawn before it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from workflow.lib.drawn.airframe import Airframe
from workflow.lib.drawn.fleet import VARIANTS, Variant
from workflow.lib.drawn.pose import Pose

__all__ = ["IMAGES_PER_CLASS", "SIZE", "SPLITS", "VARIANTS", "Variant", "draw", "image"]

SIZE = 64
SUPERSAMPLING = 3
SPLITS = ("train", "val", "test")
IMAGES_PER_CLASS = 33
# First word of every seed of the study. Whoever trains on drawings of their own must start with another word.
STUDY_STREAM = 20_240_229

Colour = tuple[int, int, int]
_PAINTS: tuple[Colour, ...] = (
    (245, 245, 245), (245, 245, 245), (226, 229, 233), (196, 202, 210), (240, 232, 208), (92, 104, 84), (70, 80, 96),
    (238, 200, 70),
)  # fmt: skip
_ACCENTS: tuple[Colour, ...] = (
    (200, 30, 40), (20, 60, 150), (10, 120, 90), (235, 120, 20), (90, 30, 120), (30, 30, 40), (0, 140, 190),
    (240, 200, 20), (120, 20, 40), (60, 140, 50),
)  # fmt: skip
_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((70, 130, 210), (170, 205, 240)), ((110, 160, 220), (215, 230, 245)), ((150, 160, 175), (200, 205, 212)),
    ((60, 80, 130), (240, 170, 120)), ((30, 50, 100), (110, 140, 190)), ((190, 200, 210), (235, 235, 235)),
)  # fmt: skip
_GROUNDS: tuple[Colour, ...] = ((96, 120, 70), (120, 118, 112), (150, 140, 105), (80, 90, 96))


def image(variant_index: int, split: str, index: int) -> Image.Image:
    """Picture `index` (0 to 32) of a variant (0 to 99) in a split of the study: 64x64 RGB.

    Raises ValueError for a split or a number that the study doesn't have.
    """
    if split not in SPLITS:
        raise ValueError(f"planes has no split {split!r}; it has {', '.join(SPLITS)}")
    if not 0 <= variant_index < len(VARIANTS):
        raise ValueError(f"planes has variants 0 to {len(VARIANTS) - 1}, not {variant_index}")
    if not 0 <= index < IMAGES_PER_CLASS:
        raise ValueError(f"planes has images 0 to {IMAGES_PER_CLASS - 1} per class and split, not {index}")
    seed = (STUDY_STREAM, SPLITS.index(split), variant_index, index)
    return draw(VARIANTS[variant_index], np.random.Generator(np.random.PCG64(seed)))


def draw(variant: Variant, rng: np.random.Generator) -> Image.Image:
    """A picture of the variant, 64x64 RGB, in a pose, livery and weather taken from `rng`; about 2 ms."""
    canvas = _sky(rng)
    _paint(ImageDraw.Draw(canvas), variant, rng)
    return _photograph(canvas.reduce(SUPERSAMPLING), rng)


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _shade(colour: Colour, percent: int) -> Colour:
    red, green, blue = (min(255, channel * percent // 100) for channel in colour)
    return red, green, blue


def _sky(rng: np.random.Generator) -> Image.Image:
    """A gradient with clouds and, now and then, ground below; at the supersampled size."""
    high, low = _SKIES[int(rng.integers(len(_SKIES)))]
    column = Image.new("RGB", (1, 2))
    column.putdata([high, low])
    sky = column.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    cells = rng.integers(0, 256, (int(rng.integers(3, 8)), int(rng.integers(2, 6))))
    cover = int(rng.integers(60, 200))
    thin = np.clip((cells - cover) * 2, 0, int(rng.integers(60, 220))).astype(np.uint8)
    mask = Image.fromarray(thin).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    sky.paste((250, 250, 252), (0, 0), mask)
    if rng.integers(4) == 0:
        sky.paste(
            _shade(_pick(rng, _GROUNDS), int(rng.integers(70, 120))),
            (0, int(rng.integers(46, 62)), SIZE, SIZE),
        )
    return sky.resize((SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING), Image.Resampling.BILINEAR)


def _paint(brush: ImageDraw.ImageDraw, variant: Variant, rng: np.random.Generator) -> None:
    """Paints the parts from the farthest to the nearest in a random livery."""
    pose = Pose.random(rng, SIZE * SUPERSAMPLING, variant)
    base, accent = _pick(rng, _PAINTS), _pick(rng, _ACCENTS)
    metal = _shade((188, 194, 202), int(rng.integers(70, 118)))
    bands: tuple[tuple[int, int], ...] = ((-100, -100), (-30, 5), (-100, -25), (-12, 30), (-100, 100))
    stripe = bands[int(rng.integers(len(bands)))]
    colours = {
        "hull": base,
        "stripe": accent,
        "shadow": _shade(base, 72),
        "fin": _pick(rng, (accent, accent, base)),
        "wing": metal,
        "far": _shade(metal, 78),
        "engine": _pick(rng, (accent, base, _shade(metal, 88))),
        "intake": (40, 44, 52),
        "glass": (36, 46, 66),
        "disc": _shade(metal, 60),
    }
    for part, polygon in Airframe(variant, pose, stripe).parts():
        brush.polygon(polygon, fill=colours[part])


def _photograph(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur, exposure and noise of a camera."""
    blur = int(rng.integers(0, 10)) / 10
    if blur > 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    gain, offset = int(rng.integers(200, 290)), int(rng.integers(-22, 23))
    grain = int(rng.integers(2, 16))
    pixels: NDArray[np.int64] = np.asarray(picture).astype(np.int64) * gain // 256 + offset
    pixels += rng.integers(-grain, grain + 1, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
