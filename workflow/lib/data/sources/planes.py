"""The drawn aircraft of `workflow.lib.drawn.planes`: 100 variants, 33 images of each in every split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from methods.contract.hookspecs import hookimpl
from workflow.lib.data.index import SPLITS, Index
from workflow.lib.data.sources.base import Source
from workflow.lib.jobs.progress import bar


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """Draw every image as `<split>/<variant>_<number>.bmp` under `root`, with at most `threads` processes."""
    from workflow.lib.drawn.planes import IMAGES_PER_CLASS, VARIANTS  # needs Pillow, which the Snakefile does not

    for split in SPLITS:
        (root / split).mkdir(parents=True, exist_ok=True)
    with bar(len(SPLITS) * len(VARIANTS) * IMAGES_PER_CLASS, "drawing planes") as progress:
        for drawn in _draw_all(root, len(VARIANTS), threads):
            progress.update(drawn)
    splits = {
        split: [
            (_file(split, variant, n), variant) for variant in range(len(VARIANTS)) for n in range(IMAGES_PER_CLASS)
        ]
        for split in SPLITS
    }
    return Index(tuple(variant.name for variant in VARIANTS), root, splits)


def _draw_all(root: Path, variants: int, threads: int) -> Iterator[int]:
    """Draw variant by variant; yields how many images each one had."""
    draw = partial(_draw_variant, root)
    if threads <= 1:
        yield from map(draw, range(variants))
        return
    with ProcessPoolExecutor(threads) as pool:
        yield from pool.map(draw, range(variants))


def _draw_variant(root: Path, variant: int) -> int:
    from workflow.lib.drawn.planes import IMAGES_PER_CLASS, image

    for split in SPLITS:
        for number in range(IMAGES_PER_CLASS):
            # Not atomic one by one: an image counts only once the index, written last, lists it.
            image(variant, split, number).save(root / _file(split, variant, number))
    return len(SPLITS) * IMAGES_PER_CLASS


def _file(split: str, variant: int, number: int) -> str:
    # The grain in these pictures hardly compresses: a PNG saves a third of the space for eight times the time to read.
    return f"{split}/{variant:03d}_{number:02d}.bmp"


SOURCE = Source(
    name="planes",
    help="100 aircraft variants drawn procedurally, a fine-grained task, nothing to download",
    templates=("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
    prepare=prepare,
)


@hookimpl
def register_sources() -> list[Source]:
    return [SOURCE]
