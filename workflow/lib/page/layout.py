"""Where things stand on a page about one study or several: datasets, backbones, shots, rows, each by its number."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.colors import to_hex

from methods.contract.shots import ALL, ZERO
from workflow.lib.reporting import figures
from workflow.lib.reporting.comparison import Predictions, Row
from workflow.lib.reporting.results import Results
from workflow.lib.reporting.tables import name

EVERY = -1  # the number of shots of a row that learns nothing


@dataclass(frozen=True)
class Source:
    """A study for the page: where it lies, its records, its predictions, the cells that are missing and why."""

    folder: Path
    results: Results
    predictions: Predictions
    missing: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Layout:
    """The union of the studies' grids."""

    sources: Sequence[Source]

    @cached_property
    def shots(self) -> list[str]:
        """Every number of shots, in order, `all` last."""
        found = {shots for source in self.sources for shots in source.results.plan.shots}
        return sorted(found, key=lambda shots: (shots == ALL, 0 if shots == ALL else int(shots)))

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Every dataset and backbone."""
        return list(dict.fromkeys(pair for source in self.sources for pair in source.results.plan.pairs()))

    @cached_property
    def rows(self) -> list[tuple[int, Row]]:
        """Every row: the number of its study, its label and variant."""
        return [(i, row) for i, source in enumerate(self.sources) for row in source.results.plan.rows()]

    def shot(self, shots: str) -> int:
        """The number of a number of shots."""
        return EVERY if shots == ZERO else self.shots.index(shots)

    def row(self, study: int, row: Row) -> int:
        """The number of a row."""
        return self._numbers[study, row]

    @cached_property
    def _numbers(self) -> dict[tuple[int, Row], int]:
        return {row: i for i, row in enumerate(self.rows)}

    def described_rows(self) -> list[dict[str, Any]]:
        """The rows for the page: names, and a colour for each method, the one that it has in the figures.

        A name that two studies share has the study behind it.
        """
        names = [name(row) for _, row in self.rows]
        methods = (method for source in self.sources for method in source.results.plan.methods)
        order = list(dict.fromkeys(method["label"] for method in methods))
        made = []
        for (i, row), label in zip(self.rows, names, strict=True):
            source = self.sources[i]
            learns = source.results.plan.cell(row[0], "1") != ZERO
            full = f"{label} · {source.results.plan.study}" if names.count(label) > 1 else label
            color = to_hex(figures.PALETTE[order.index(row[0]) % len(figures.PALETTE)]) if learns else ""
            made.append(
                {"study": i, "label": row[0], "variant": row[1], "name": full, "learns": learns, "color": color}
            )
        return made
