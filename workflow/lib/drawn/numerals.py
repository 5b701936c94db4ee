"""Drawings of the ten digits for training `nano`: printed in many fonts or written with a pen, then bent.

Most of them are reduced to 8x8 cells of 17 grey levels, as a scanner of the nineties did: a 32x32 bitmap, and in
each cell the number of its 4x4 pixels that carry ink. No image of a published set of digits is used.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import map_coordinates

SIZE = 64
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CANVAS = 96
_BITMAP = 32
_CELL = 4

Stroke = tuple[tuple[float, float], ...]
# How a pen may write each digit: forms, each of one or more strokes through points of the unit square (y down).
_PEN: tuple[tuple[tuple[Stroke, ...], ...], ...] = (
    (
        (((0.5, 0.0), (0.15, 0.2), (0.1, 0.5), (0.2, 0.85), (0.5, 1.0), (0.8, 0.85), (0.9, 0.5), (0.8, 0.2),
          (0.5, 0.0)),),
    ),
    (
        (((0.5, 0.0), (0.5, 0.5), (0.5, 1.0)),),
        (((0.25, 0.3), (0.55, 0.0), (0.53, 0.5), (0.5, 1.0)),),
        (((0.3, 0.25), (0.55, 0.0), (0.52, 1.0)), ((0.2, 1.0), (0.8, 1.0))),
    ),
    (
        (((0.15, 0.25), (0.35, 0.02), (0.75, 0.08), (0.8, 0.35), (0.5, 0.65), (0.1, 1.0)), ((0.1, 1.0), (0.92, 0.97))),
        (((0.15, 0.2), (0.5, 0.0), (0.8, 0.2), (0.65, 0.55), (0.2, 0.95), (0.12, 0.8), (0.4, 0.8), (0.95, 1.0)),),
    ),
    (
        (((0.15, 0.1), (0.55, 0.0), (0.85, 0.2), (0.6, 0.45), (0.35, 0.48)),
         ((0.35, 0.48), (0.75, 0.55), (0.85, 0.8), (0.5, 1.0), (0.1, 0.9))),
        (((0.12, 0.03), (0.85, 0.03)), ((0.85, 0.03), (0.45, 0.42)),
         ((0.45, 0.42), (0.85, 0.6), (0.8, 0.9), (0.45, 1.0), (0.1, 0.88))),
    ),
    (
        (((0.35, 0.0), (0.25, 0.3), (0.08, 0.6)), ((0.08, 0.6), (0.95, 0.58)), ((0.7, 0.25), (0.66, 0.6), (0.62, 1.0))),
        (((0.7, 0.0), (0.08, 0.68)), ((0.08, 0.68), (0.95, 0.68)), ((0.7, 0.0), (0.7, 1.0))),
        (((0.2, 0.0), (0.15, 0.5), (0.5, 0.55), (0.85, 0.5)), ((0.85, 0.0), (0.8, 0.5), (0.78, 1.0))),
    ),
    (
        (((0.88, 0.0), (0.25, 0.02)), ((0.25, 0.02), (0.2, 0.42)),
         ((0.2, 0.42), (0.6, 0.38), (0.86, 0.65), (0.6, 0.97), (0.1, 0.92))),
        (((0.9, 0.03), (0.3, 0.0), (0.2, 0.35), (0.55, 0.45), (0.8, 0.7), (0.55, 1.0), (0.1, 0.95)),),
    ),
    (
        (((0.75, 0.02), (0.3, 0.3), (0.12, 0.7), (0.4, 1.0), (0.82, 0.85), (0.75, 0.58), (0.4, 0.55), (0.15, 0.75)),),
        (((0.4, 0.0), (0.2, 0.4), (0.15, 0.8), (0.45, 1.0), (0.82, 0.8), (0.6, 0.6), (0.2, 0.75)),),
    ),
    (
        (((0.1, 0.05), (0.9, 0.02)), ((0.9, 0.02), (0.55, 0.5), (0.35, 1.0))),
        (((0.1, 0.05), (0.9, 0.02)), ((0.9, 0.02), (0.55, 0.5), (0.4, 1.0)), ((0.25, 0.52), (0.85, 0.48))),
        (((0.1, 0.2), (0.15, 0.03), (0.85, 0.03)), ((0.85, 0.03), (0.6, 0.5), (0.5, 1.0))),
    ),
    (
        (((0.75, 0.15), (0.45, 0.0), (0.2, 0.2), (0.5, 0.47), (0.82, 0.75), (0.5, 1.0), (0.18, 0.78), (0.5, 0.47),
          (0.8, 0.22), (0.7, 0.1)),),
        (((0.5, 0.0), (0.2, 0.22), (0.5, 0.46), (0.8, 0.22), (0.5, 0.0)),
         ((0.5, 0.46), (0.15, 0.75), (0.5, 1.0), (0.85, 0.75), (0.5, 0.46))),
    ),
    (
        (((0.82, 0.22), (0.5, 0.02), (0.18, 0.22), (0.4, 0.48), (0.8, 0.3)), ((0.82, 0.2), (0.78, 0.6), (0.65, 1.0))),
        (((0.82, 0.2), (0.45, 0.02), (0.18, 0.28), (0.5, 0.5), (0.82, 0.3), (0.82, 0.7), (0.55, 1.0), (0.15, 0.92)),),
    ),
)  # fmt: skip


def draw(digit: int, rng: np.random.Generator) -> Image.Image:
    """A picture of the digit (0 to 9), 64x64 RGB, mostly white ink in 8x8 cells on black; about 2 ms."""
    glyph = _written(digit, rng) if rng.random() < 0.5 else _printed(digit, rng)
    bitmap = _fit(_bend(glyph, rng), rng)
    if rng.random() < 0.85:
        return from_cells(bitmap.reshape(8, _CELL, 8, _CELL).sum(axis=(1, 3)))
    return _coloured(bitmap, rng)


def from_cells(cells: NDArray[np.integer]) -> Image.Image:
    """Ink of 0 to 16 in 8x8 cells as the picture that a 64-pixel preprocessing makes of it."""
    grey = np.rint(cells * 255 / 16).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)


@cache
def _fonts() -> tuple[ImageFont.FreeTypeFont, ...]:
    """The text fonts that matplotlib ships; its display and symbol fonts have no digits."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    text = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmb", "cmr", "cmss", "cmtt", "cmti")
    paths = (p for p in sorted(folder.glob("*.ttf")) if p.stem.startswith(text) and not p.stem.endswith("Display"))
    return tuple(ImageFont.truetype(str(path), 64) for path in paths)


def _printed(digit: int, rng: np.random.Generator) -> Image.Image:
    fonts = _fonts()
    glyph = Image.new("L", (_CANVAS, _CANVAS))
    centre = (_CANVAS / 2, _CANVAS / 2)
    ImageDraw.Draw(glyph).text(centre, str(digit), fill=255, font=fonts[int(rng.integers(len(fonts)))], anchor="mm")
    return glyph


def _written(digit: int, rng: np.random.Generator) -> Image.Image:
    """A pen's strokes through points that tremble."""
    glyph = Image.new("L", (_CANVAS, _CANVAS))
    brush = ImageDraw.Draw(glyph)
    forms = _PEN[digit]
    width = int(rng.integers(4, 13))
    across = rng.uniform(26, 54)
    for stroke in forms[int(rng.integers(len(forms)))]:
        points = np.asarray(stroke) + rng.normal(0, 0.035, (len(stroke), 2))
        path = _smooth(points) * (across, 60) + ((_CANVAS - across) / 2, 18)
        brush.line([(x, y) for x, y in path.tolist()], fill=255, width=width, joint="curve")
    return glyph


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Catmull-Rom curve through points (n, 2): (8 (n - 1), 2)."""
    ends = np.vstack([points[0], points, points[-1]])
    t = np.linspace(0, 1, 8)[:, None]
    a, b, c, d = (ends[k : len(ends) - 3 + k, None] for k in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2))


def _bend(glyph: Image.Image, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Turns, slants and warps a glyph and makes its stroke thinner or thicker: True where there is ink."""
    angle, slant = rng.normal(0, 0.13), rng.normal(0, 0.16)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle) + slant, np.cos(angle)]])
    grid = np.indices((_CANVAS, _CANVAS)).reshape(2, -1) - _CANVAS / 2
    waves = [Image.fromarray(rng.normal(0, 1, (5, 5)).astype(np.float32)) for _ in range(2)]
    warp = np.stack([np.asarray(w.resize((_CANVAS, _CANVAS), Image.Resampling.BICUBIC)).ravel() for w in waves])
    source = matrix @ grid + rng.uniform(0, 4.5) * warp + _CANVAS / 2
    soft = glyph.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3.0)))
    values = map_coordinates(np.asarray(soft, dtype=np.float32), source, order=1)
    ink = values.reshape(_CANVAS, _CANVAS) > rng.uniform(50, 150)
    return np.asarray(ink) if ink.any() else np.asarray(glyph) > 127


def _fit(ink: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Scales the ink's bounding box into a 32x32 bitmap (0 or 1), as a normalised scan of a digit."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = Image.fromarray(ink).crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)).convert("L")
    tall = int(rng.integers(28, 33))
    wide = min(_BITMAP, max(4, round(tall * box.width / box.height * rng.uniform(0.85, 1.2))))
    page = Image.new("L", (_BITMAP, _BITMAP))
    left = (_BITMAP - wide) // 2 + int(rng.integers(-2, 3))
    page.paste(box.resize((wide, tall), Image.Resampling.BILINEAR), (left, (_BITMAP - tall) // 2))
    return (np.asarray(page) > 110).astype(np.int64)


def _coloured(bitmap: NDArray[np.int64], rng: np.random.Generator) -> Image.Image:
    """The bitmap at full resolution, in colours with contrast between ink and paper."""
    mask = Image.fromarray((bitmap * 255).astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    dark, light = (tuple(rng.integers(low, low + 90, 3).tolist()) for low in (0, 165))
    paper, ink = (dark, light) if rng.random() < 0.6 else (light, dark)
    page = Image.new("RGB", (SIZE, SIZE), paper)
    page.paste(ink, (0, 0), mask)
    return page
