"""scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, 16 shades, light on dark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from methods.contract.hookspecs import hookimpl
from workflow.lib.data.index import Entry, Index
from workflow.lib.data.sources.base import Source

CLASSNAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WHITE = 16  # the brightest shade in scikit-learn's arrays


def split_indices(labels: Any) -> dict[str, list[int]]:
    """Image numbers of train, val and test: 50, 25 and 25 % of each class, always the same."""
    # Slow to import, and the Snakefile imports this module.
    from sklearn.model_selection import train_test_split

    def halves(numbers: list[int]) -> tuple[list[int], list[int]]:
        first, second = train_test_split(numbers, test_size=0.5, stratify=labels[numbers], random_state=0)
        return sorted(first), sorted(second)

    train, rest = halves(list(range(len(labels))))
    val, test = halves(rest)
    return {"train": train, "val": val, "test": test}


def prepare(root: Path, options: Mapping[str, Any], threads: int) -> Index:
    """Write every digit as `<split>/<number>.png` under `root`."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / _WHITE)).astype(np.uint8)
    splits: dict[str, list[Entry]] = {}
    for split, numbers in split_indices(digits.target).items():
        (root / split).mkdir(parents=True, exist_ok=True)
        splits[split] = [(f"{split}/{number:04d}.png", int(digits.target[number])) for number in numbers]
        for number, (file, _) in zip(numbers, splits[split], strict=True):
            Image.fromarray(pixels[number]).save(root / file)
    return Index(CLASSNAMES, root, splits)


SOURCE = Source(
    name="digits",
    help="scikit-learn's 1797 handwritten digits, nothing to download",
    templates=("a photo of the number {}.", "a handwritten digit {}."),
    prepare=prepare,
    flip=False,
)


@hookimpl
def register_sources() -> list[Source]:
    return [SOURCE]
