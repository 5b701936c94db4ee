"""What the page of methods says beside a docstring: year, formula, cost, when to take it, where it fails."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

# FGVC-Aircraft with 16 shots and ViT-B/32: where costs are given as numbers.
SIZES: Mapping[str, int] = {
    "N": 1600,
    "D": 512,
    "K": 100,
    "Dp": 768,
    "P": 10,
    "W": 512,
    "L": 12,
    "G": 2 * 10**9,
    "I": 88 * 10**8,
}
_SHOWN = (("**2", "²"), ("**3", "³"), (" * ", " "), ("Dp", "D′"))


@dataclass(frozen=True)
class Facts:
    """Costs are expressions in N images, D dimensions, K classes, Dp dimensions before the projection, P prompts of a
    class, W the width of the text tower, L its blocks and G its operations on one prompt, I those of the image tower on
    one image, and, where the method trains, E passes over the support (`passes` of them with the defaults).

    `learned` counts numbers, `fit` floating-point operations of one fit with the defaults, `memory` the numbers that
    it holds beside the features; `use` and `fails` are sentences.
    """

    year: int
    formula: str
    training: str
    learned: str
    fit: str
    memory: str
    use: str
    fails: str
    passes: int = 1

    def at(self, expression: str, **sizes: int) -> float:
        """The value of a cost at SIZES, or at others."""
        names = {**SIZES, "E": self.passes, "min": min, "log2": math.log2, **sizes}
        return float(eval(expression, {"__builtins__": {}}, names))  # written by the method's author, like its code


def shown(expression: str) -> str:
    """An expression as one writes it by hand: `4 E N D K`."""
    for code, sign in _SHOWN:
        expression = expression.replace(code, sign)
    return re.sub(r"(?<=\d)(?=[(])", " ", expression)


def scaled(value: float, units: str = "kMGTP") -> str:
    """A count in two digits or three: `853 G`."""
    power = min(len(units), int(math.log10(value) // 3)) if value >= 1000 else 0
    return f"{value / 1000**power:.3g}" + (f" {units[power - 1]}" if power else "")
