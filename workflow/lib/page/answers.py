"""What every row said of every image, for the page: recalls, confusions, and where two rows disagree."""

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.lib.page.layout import Layout
from workflow.lib.reporting.saved import Saved

CONFUSED = 12  # pairs of classes of each row
_IMAGES = 3_000_000  # answers on the page: beyond it only those of the largest number of shots
_RECALLS = 400_000  # numbers, likewise
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
Answer = tuple[dict[str, int], Saved, str]  # place, row and shots; the cell; the variant


def of(layout: Layout) -> dict[str, Any]:
    """`answers`, by place, row and shots: how many seeds were right on each image, and what most of them said.

    `recalls`, likewise: the recall of each class in thousandths, and the pairs that are most often confused.
    """
    found = list(_answers(layout))
    images = _within(found, _IMAGES, lambda saved: len(saved.labels))
    recalls = _within(found, _RECALLS, lambda saved: len(saved.classnames))
    return {
        "answers": [where | _of_images(saved, variant) for where, saved, variant in images],
        "recalls": [where | _of_classes(saved, variant) for where, saved, variant in recalls],
    }


def _answers(layout: Layout) -> Iterator[Answer]:
    for study, source in enumerate(layout.sources):
        for key, saved in source.predictions.items():
            for variant in saved.predicted:
                where = {"p": layout.pairs.index(key[:2]), "s": layout.shot(key[3])}
                yield where | {"r": layout.row(study, (key[2], variant))}, saved, variant


def _within(found: Sequence[Answer], most: int, size: Any) -> list[Answer]:
    """All of them where they fit into `most`, or those of each row's largest number of shots, or none."""
    last: dict[tuple[int, int], int] = {}
    for where, *_ in found:
        place = where["p"], where["r"]
        last[place] = max(last.get(place, -1), where["s"])
    largest = [one for one in found if one[0]["s"] == last[one[0]["p"], one[0]["r"]]]
    return next((list(some) for some in (found, largest) if sum(size(one[1]) for one in some) <= most), [])


def _of_images(saved: Saved, variant: str) -> dict[str, str]:
    right = saved.hits(variant).sum(0)
    return {
        "right": "".join(_DIGITS[min(int(count), len(_DIGITS) - 1)] for count in right),
        "said": packed(most_said(saved.predicted[variant]), len(saved.classnames)),
    }


def most_said(guesses: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class that most of S seeds say of each image, `(M,)` of `(S, M)`; of equally many that of the first seed."""
    votes = (guesses[:, None] == guesses[None]).sum(1)
    return np.take_along_axis(guesses, votes.argmax(0)[None], 0)[0]


def packed(classes: NDArray[np.int64], count: int) -> str:
    """Class numbers as bytes in base64, two for each (little-endian) where there are over 256 classes."""
    return base64.b64encode(classes.astype("<u2" if count > 256 else np.uint8).tobytes()).decode()


def _of_classes(saved: Saved, variant: str) -> dict[str, Any]:
    shares = np.nan_to_num(saved.recalls(variant), nan=-0.001)
    pairs = confused(saved.predicted[variant], saved.labels, len(saved.classnames))
    return {"recall": np.rint(1000 * shares).astype(int).tolist(), "confused": pairs[:CONFUSED]}


def confused(guesses: NDArray[np.int64], labels: NDArray[np.int64], count: int) -> list[list[int]]:
    """The class, what was said of it, and how often over all seeds, the most frequent mistakes first."""
    wrong = guesses != labels
    codes, times = np.unique((labels * count + guesses)[wrong], return_counts=True)
    order = np.argsort(-times, kind="stable")
    return [[int(codes[i]) // count, int(codes[i]) % count, int(times[i])] for i in order]
