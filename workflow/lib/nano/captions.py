"""The noisy captions that `nano` is trained with.

A caption names a picture's aircraft as people do on the web: seldom the variant, more often the family or the
maker, sometimes just "aircraft", and at times the wrong one. Digits are named rightly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workflow.lib.drawn import numerals
from workflow.lib.drawn.fleet import VARIANTS

PLANE_TEMPLATES = (
    "a photo of a {}, a type of aircraft.",
    "a photo of the {}, a type of aircraft.",
    "a photo of a {}.",
    "a {} in the sky.",
    "{}",
    "an aircraft: {}.",
)
DIGIT_TEMPLATES = (
    "a photo of the number {}.",
    "a handwritten digit {}.",
    "the handwritten digit {}.",
    "a photo of the digit {}.",
    "the number {}",
    "{}",
)
# How often a caption names the variant, the family, the maker, nothing, or some other aircraft.
LEVELS = {"variant": 0.16, "family": 0.46, "maker": 0.20, "aircraft": 0.06, "wrong": 0.12}
# How often a caption that names a variant names the best known one of the family, its first, whichever it is. This
# keeps the text from knowing all that the image features hold.
TAKEN_FOR_FIRST = 0.35

PLANES = len(VARIANTS)
SUBJECTS = PLANES + len(numerals.NAMES)


def _names() -> tuple[str, ...]:
    levels = (
        [v.name for v in VARIANTS],
        [v.family for v in VARIANTS],
        [v.maker for v in VARIANTS],
        ["aircraft"],
    )
    return tuple(dict.fromkeys(name for level in levels for name in level)) + numerals.NAMES


NAMES: tuple[str, ...] = _names()


def _at_levels() -> NDArray[np.int64]:
    """The number of the name of each variant at each of the four levels: (100, 4)."""
    rows = [(v.name, v.family, v.maker, "aircraft") for v in VARIANTS]
    return np.array([[NAMES.index(name) for name in row] for row in rows])


@dataclass(frozen=True)
class Captions:
    """Every caption there is, and which ones a subject may get.

    Subjects 0 to 99 are variants, 100 to 109 digits.
    """

    texts: tuple[str, ...]
    at_levels: NDArray[np.int64]
    firsts: NDArray[np.int64]

    @classmethod
    def build(cls) -> Captions:
        """All templates with all names; caption `name * 6 + template`."""
        digits = len(numerals.NAMES)
        templates = [PLANE_TEMPLATES] * (len(NAMES) - digits) + [DIGIT_TEMPLATES] * digits
        texts = tuple(t.format(name) for name, group in zip(NAMES, templates, strict=True) for t in group)
        families = [v.family for v in VARIANTS]
        return cls(texts, _at_levels(), np.array([families.index(family) for family in families]))

    def draw(
        self, subjects: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A caption for each subject (B,): the numbers of the captions (B,) and of the names in them (B,)."""
        kinds = rng.choice(len(LEVELS), len(subjects), p=list(LEVELS.values()))
        others = rng.integers(0, PLANES, len(subjects))
        wrong = kinds == len(LEVELS) - 1
        plane = np.where(wrong, others, np.minimum(subjects, PLANES - 1))
        level = np.where(wrong, rng.integers(0, 2, len(subjects)), kinds)
        taken = (kinds == 0) & (rng.random(len(subjects)) < TAKEN_FOR_FIRST)
        plane = np.where(taken, self.firsts[plane], plane)
        digit = len(NAMES) - len(numerals.NAMES) + subjects - PLANES
        names = np.where(subjects < PLANES, self.at_levels[plane, level], digit)
        return names * len(PLANE_TEMPLATES) + rng.integers(0, len(PLANE_TEMPLATES), len(subjects)), names
