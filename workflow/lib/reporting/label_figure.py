"""The figure of what more labels would bring: a row's metric over the number of labelled images."""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from workflow.lib.reporting.figures import AXIS, STYLE
from workflow.lib.reporting.label_curve import TIMES, Curve
from workflow.lib.reporting.recommendation import Recommendation
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.tables import name

_POINTS = 100


def figure(plan: Plan, found: Recommendation) -> Figure:
    """Means with 95 % intervals, the fitted curve and its band, beyond the labels that there are in dashes.

    Where nothing could be fitted the figure says why.
    """
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(8, 4.5), layout="constrained")
        axes = made.add_subplot()
        axes.set(
            xlabel="labelled images in all",
            ylabel=f"{AXIS[plan.by]} on {plan.reported(found.dataset)}, %",
            title=f"{found.dataset}, {found.backbone}: more labels",
        )
        if found.curve is None or found.of is None:
            axes.text(0.5, 0.5, "no row that learns was run", ha="center", transform=axes.transAxes)
            return made
        measured(axes, found.curve, name(found.of))
        fitted(axes, found.curve)
        _ticks(axes, found.curve)
        axes.legend(loc="lower right", fontsize=8, frameon=False)
        made.supxlabel(_told(found.curve), fontsize=7, color="0.4")
    return made


def measured(axes: Any, curve: Curve, label: str) -> None:
    """The means in percent with their intervals, which need not hold them: a bar begins at the mean at the latest."""
    values, ends = 100 * curve.values, 100 * curve.intervals
    spread = np.maximum(np.stack([values - ends[:, 0], ends[:, 1] - values]), 0)
    axes.errorbar(curve.images, values, spread, fmt="o", markersize=4, capsize=3, color="black", label=label)


def fitted(axes: Any, curve: Curve) -> None:
    """The law, where there is one, with its band; beyond the labels that there are in dashes, with marks."""
    if curve.law is None:
        return
    last = curve.images[-1]
    for style, first, end in (("-", curve.images[0], last), ("--", last, TIMES[-1] * last)):
        images = np.geomspace(first, end, _POINTS)
        middle, low, high = 100 * curve.expected(images)
        label = "a power law with an offset" if style == "-" else "the same, beyond the labels that there are"
        axes.plot(images, middle, style, color="tab:blue", label=label)
        axes.fill_between(images, low, high, color="tab:blue", alpha=0.15, linewidth=0)
    more = last * np.array(TIMES)
    axes.plot(more, 100 * curve.expected(more)[0], "s", markersize=5, color="tab:blue", fillstyle="none")


def _ticks(axes: Any, curve: Curve) -> None:
    """A true axis of images, in the logarithm, with the numbers that there are and those that are asked about."""
    more = [] if curve.law is None else [times * curve.images[-1] for times in TIMES]
    axes.set_xscale("log")
    axes.set_xticks([*curve.images, *more])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _told(curve: Curve) -> str:
    if curve.law is None:
        return f"No curve: {curve.reason}."
    law = curve.law
    return (
        f"error = {law.fall:.3g} · (images / {law.most:.0f})^-{law.power:.3g} + {round(law.floor, 4):.3g}; "
        "intervals and band: 95 % over supports and images; the band takes the law for granted"
    )
