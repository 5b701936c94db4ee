"""Figures of a study: its metric over shots, one line per row of the table, and what peeking would add."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from methods.contract.shots import ALL
from workflow.lib import files
from workflow.lib.reporting.results import Results
from workflow.lib.reporting.tables import name, percent, protocol

AXIS = {"accuracy": "accuracy", "mean_per_class": "mean per class", "macro_f1": "macro F1", "auroc": "AUROC"}
# Six dashes and seven markers, none like another: forty-two rows differ in one of them, without any colour.
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 2)),
    (0, (1, 1.6)),
    (0, (7, 2, 1.5, 2)),
    (0, (12, 3)),
    (0, (6, 1.6, 1.2, 1.6, 1.2, 1.6)),
)
MARKERS = "os^D*vP"
NAME_HEIGHT, BELOW = 0.17, 0.6  # inches: of a name in the legend, and for the line below all
_TAB20 = mpl.color_sequences["tab20"]
PALETTE = [*_TAB20[::2], *_TAB20[1::2]]  # the strong ones first
# Letters stay text and identifiers the same from run to run: equal studies give equal files.
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clip-adapter-bench",
    "text.parse_math": False,  # a name with dollar signs is a name
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def accuracy_figure(results: Results, dataset: str, backbone: str) -> Figure:
    """The study's metric in percent over labelled images, with standard deviations; zero-shot and the like go across.

    The axis is logarithmic, and each number of shots stands at the images per class that it means.
    """
    plan = results.plan
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 5), layout="constrained")
        axes = figure.add_subplot()
        places = images_per_class(results, dataset, backbone)
        shades = [PALETTE[i % len(PALETTE)] if one["learns"] else "black" for i, one in enumerate(plan.methods)]
        rows = [(m["label"], v, shade) for m, shade in zip(plan.methods, shades, strict=True) for v in m["variants"]]
        for number, (label, variant, shade) in enumerate(rows):
            _line(axes, results, (dataset, backbone), (label, variant), places, shade, number)
        axes.set(
            xlabel="labelled images per class",
            ylabel=f"{AXIS[plan.by]} on {plan.reported(dataset)}, %",
            title=f"{dataset}, {backbone}",
        )
        _images_axis(axes, plan.shots, places)
        _legend(figure, axes)
        figure.supxlabel(fill(protocol(plan, dataset), 160), fontsize=7, color="0.4")
    return figure


def images_per_class(results: Results, dataset: str, backbone: str) -> list[float]:
    """How many labelled images of a class each number of shots means; of `all` the mean over classes.

    Where no cell tells it, `all` is taken for twice the largest other number.
    """
    told = {key[3]: r["support"] / r["classes"] for key, r in results.records.items() if key[:2] == (dataset, backbone)}
    most = max((int(shots) for shots in results.plan.shots if shots != ALL), default=1)
    return [told.get(ALL, 2.0 * most) if shots == ALL else float(shots) for shots in results.plan.shots]


def _images_axis(axes: Any, shots: Sequence[str], places: Sequence[float]) -> None:
    names = [f"all ({place:.4g})" if one == ALL else one for one, place in zip(shots, places, strict=True)]
    axes.set_xscale("log")
    axes.set_xticks(places, names)
    axes.minorticks_off()


def _line(
    axes: Any,
    results: Results,
    at: tuple[str, str],
    row: tuple[str, str],
    places: Sequence[float],
    shade: Any,
    number: int,
) -> None:
    """One row of the table: in the colour of its method, with a dash and a marker that no row near it has."""
    numbers = [percent(results.values(*at, row, shots)) for shots in results.plan.shots]
    points = [(x, one.mean, one.sd or 0.0) for x, one in zip(places, numbers, strict=True) if one is not None]
    if not points:
        return
    x, y, spread = zip(*sorted(points), strict=True)
    look = {"color": shade, "linestyle": LINES[number % len(LINES)], "label": name(row)}
    axes.plot(x, y, marker=MARKERS[number % len(MARKERS)], markersize=4, **look)
    axes.fill_between(x, *_band(y, spread), color=shade, alpha=0.12, linewidth=0)


def _band(middle: Sequence[float], half: Sequence[float]) -> tuple[list[float], list[float]]:
    both = list(zip(middle, half, strict=True))
    return [m - h for m, h in both], [m + h for m, h in both]


def peeking_figure(results: Results) -> Figure:
    """The peeking gap in points over shots, averaged over datasets and backbones, of every row with a curve."""
    plan = results.plan
    pairs = [(dataset, backbone) for dataset in plan.datasets for backbone in plan.backbones]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.5), layout="constrained")
        axes = figure.add_subplot()
        for i, row in enumerate(plan.rows()):
            gaps = [[g for d, b in pairs for g in results.peeking_gaps(d, b, row, shots)] for shots in plan.shots]
            points = [(x, 100 * sum(found) / len(found)) for x, found in enumerate(gaps) if found]
            if points:
                look: dict[str, Any] = {
                    "color": PALETTE[i % len(PALETTE)],
                    "linestyle": LINES[i % len(LINES)],
                    "marker": MARKERS[i % len(MARKERS)],
                    "markersize": 4,
                }
                axes.plot(*zip(*points, strict=True), label=name(row), **look)
        axes.set(
            xlabel="labelled images per class",
            ylabel=f"points of {AXIS[plan.by]} on {plan.reported()}",
            title="Peeking gap",
        )
        axes.set_xticks(range(len(plan.shots)), plan.shots)
        axes.set_ylim(bottom=0)
        if axes.lines:
            _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Any) -> None:
    """All lines by name: left to itself, Matplotlib leaves out what begins with an underscore. Many make it higher."""
    names = [line.get_label() for line in axes.lines]
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, max(height, NAME_HEIGHT * len(names) + BELOW))
    figure.legend(axes.lines, names, loc="outside right upper", fontsize=8, frameon=False)


def write(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of its suffix, without a date in it."""
    dates = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with mpl.rc_context(STYLE), files.atomic(path) as temporary:
        figure.savefig(temporary, dpi=200, metadata=dates.get(path.suffix))
