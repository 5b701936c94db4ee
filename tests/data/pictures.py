"""Small pictures for the tests, in the likeness of the textile photographs of the package conformal-clip-data.

Those are 2000 JPEGs of woven cloth in three folders without a split: nominal, local (a spot) and global (the whole
weave is off).
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FAULTS = ("global", "local", "nominal")


def cloth(fault: str, number: int) -> Image.Image:
    """A picture of 32 x 32 pixels, another for every number."""
    rng = np.random.default_rng([FAULTS.index(fault), number])
    y, x = np.mgrid[:32, :32]
    period = 6.0 if fault == "global" else 4.0
    weave = 128 + 50 * np.sin(2 * np.pi * x / period) * np.sin(2 * np.pi * y / 4) + rng.normal(0, 12, (32, 32))
    image = Image.fromarray(weave.clip(0, 255).astype(np.uint8))
    if fault == "local":
        left, top = rng.integers(4, 20, 2).tolist()
        ImageDraw.Draw(image).ellipse((left, top, left + 8, top + 8), fill=20)
    return image


def cloths(root: Path, each: int = 14) -> Path:
    """`each` JPEGs of every fault in `root/<fault>/<fault>_<number>.jpg`."""
    for fault in FAULTS:
        (root / fault).mkdir(parents=True)
        for number in range(each):
            cloth(fault, number).save(root / fault / f"{fault}_{number:03d}.jpg")
    return root
