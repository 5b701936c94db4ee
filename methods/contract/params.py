"""Parameters of methods: declared once, they serve validation, the command line, the docs and the table labels."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import isfinite
from typing import Any

Value = bool | int | float | str
LARGEST = 2**63  # what NumPy and torch take for a whole number


@dataclass(frozen=True)
class Param:
    """One parameter: its default (which gives the type), its meaning, and what is allowed.

    `low` and `high` are inclusive; `above` is an exclusive lower bound. `choices` lists all allowed values.
    """

    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[Value, ...] = ()

    @property
    def kind(self) -> type:
        """bool, int, float or str."""
        return type(self.default)

    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.choices:
            return "one of " + ", ".join(map(show, self.choices))
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[self.kind]
        bounds = [(self.above, ">"), (self.low, "≥"), (self.high, "≤")]
        limits = " and ".join(f"{sign} {bound:g}" for bound, sign in bounds if bound is not None)
        return f"{words} {limits}".strip()

    def check(self, value: Any) -> Value:
        """The value in its declared type. Raises ValueError that says what was found and what is allowed."""
        found: Any = _number(value) if self.kind is float else value
        kind: type = type(found)
        if kind is not self.kind or not self._within(found):
            raise ValueError(f"found {brief(value)}, allowed: {self.allowed()}{nearest(value, self.choices)}")
        return found

    def _within(self, value: Value) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, bool | str):
            return True
        return (
            (abs(value) < LARGEST if isinstance(value, int) else isfinite(value))
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )


def _number(value: Any) -> Any:
    """Whole numbers and YAML's `1e-4`, which it reads as a text, are numbers; anything else stays what it is."""
    if type(value) not in (int, str):
        return value
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value


def show(value: Any) -> str:
    """A value as one writes it in the study file."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    return f"'{value}'" if isinstance(value, str) else repr(value)


def brief(value: Any) -> str:
    """A value in one line of at most 60 characters, for errors."""
    text = " ".join(show(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: Any, known: Iterable[Any]) -> str:
    """`; did you mean 'x'?` for the closest known name, or an empty text."""
    close = difflib.get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def label(settings: Mapping[str, Value]) -> str:
    """The name of a variant: `ratio=0.1`, `inputs=image, scale=none`; `-` when nothing is swept."""
    return ", ".join(f"{name}={plain(value)}" for name, value in settings.items()) or "-"


def plain(value: Any) -> str:
    """A value in a name: a text without quotes, 1.0 as 1; different values stay different."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return value if isinstance(value, str) else show(value)


def expand(settings: Mapping[str, Any]) -> list[tuple[str, dict[str, Value]]]:
    """The variants of a method's settings: a list is a sweep, several lists are their product, in order."""
    swept = {name: value for name, value in settings.items() if isinstance(value, list)}
    fixed = {name: value for name, value in settings.items() if not isinstance(value, list)}
    points = [dict(zip(swept, combination, strict=True)) for combination in product(*swept.values())]
    return [(label(point), fixed | point) for point in points]
