"""The figure that says how far the best rows can be trusted: reliability before and after, and risk over coverage."""

from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from workflow.lib.errors import UserError
from workflow.lib.evaluation import abstention, calibration
from workflow.lib.features import archive
from workflow.lib.reporting.figures import PALETTE, STYLE
from workflow.lib.reporting.results import Results, exact_mean
from workflow.lib.reporting.tables import name, protocol, shots_heading

BEST = 3  # rows that are drawn
_WANTED = ("variants", "labels", "predicted", "confidence", "calibrated_confidence", "calibrated_right")


@dataclass(frozen=True)
class Sure:
    """How sure a row was of every image, before and after calibration, and whether it was right `(S · M,)`."""

    before: NDArray[np.float64]
    before_right: NDArray[np.bool_]
    after: NDArray[np.float64]
    after_right: NDArray[np.bool_]


def read(path: Path, variant: str) -> Sure | None:
    """What a cell's predictions say of a variant; None where it was not calibrated. Raises UserError with the file."""
    try:
        found = archive.read(path, _WANTED)
    except UserError as error:
        raise UserError(f"{path}: no predictions can be read from it ({error}); delete it, and run again") from error
    names = [str(one) for one in found["variants"]]
    if "calibrated_right" not in found or variant not in names:
        return None
    i = names.index(variant)
    there = (found["calibrated_right"][i] >= 0).all(1)  # of the seeds that were calibrated
    if not there.any():
        return None
    right = found["predicted"][i] == found["labels"]
    pairs = (found["confidence"][i], right, found["calibrated_confidence"][i], found["calibrated_right"][i] == 1)
    before, before_right, after, after_right = (array[there].ravel() for array in pairs)
    return Sure(before.astype(float), before_right, after.astype(float), after_right)


def figure(results: Results, folder: Path, dataset: str, backbone: str) -> Figure:
    """Of the best rows at the largest number of shots: accuracy over confidence, and error over the share answered."""
    plan, shots = results.plan, results.plan.shots[-1]
    with mpl.rc_context(STYLE):
        made = Figure(figsize=(10, 4.6), layout="constrained")
        left, right = made.subplots(1, 2)
        left.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        for i, (row, sure) in enumerate(_best(results, folder, dataset, backbone)):
            _draw(left, right, row, sure, PALETTE[i])
        left.set(xlabel="confidence", ylabel="accuracy", title="Reliability: before (dotted) and after", xlim=(0, 1))
        left.set_ylim(0, 1)
        right.set(xlabel="share of images answered, the surest first", ylabel="error among them, %", title="Risk")
        right.set_ylim(bottom=0)
        lines = right.lines
        if lines:
            made.legend(lines, [str(line.get_label()) for line in lines], loc="outside right upper", frameon=False)
        else:
            left.text(0.5, 0.5, "nothing was calibrated", ha="center")
        heading = f"{dataset}, {backbone}, {shots_heading(shots)}"
        made.suptitle(f"{heading}: how far to trust the best rows")
        made.supxlabel(fill(protocol(plan, dataset), 160), fontsize=7, color="0.4")
    return made


def _best(results: Results, folder: Path, dataset: str, backbone: str) -> list[tuple[tuple[str, str], Sure]]:
    """The rows with the highest mean of the study's metric that have been calibrated."""
    plan, shots = results.plan, results.plan.shots[-1]
    means = {row: exact_mean(results.values(dataset, backbone, row, shots)) for row in plan.rows()}
    found: list[tuple[tuple[str, str], Sure]] = []
    for row in sorted((row for row, mean in means.items() if not np.isnan(mean)), key=lambda row: -means[row]):
        sure = read(plan.path(folder, dataset, backbone, row[0], shots, "predictions"), row[1])
        if sure is not None and len(found) < BEST:
            found.append((row, sure))
    return found


def _draw(left: Any, right: Any, row: tuple[str, str], sure: Sure, color: Any) -> None:
    for confidence, hit, style in ((sure.before, sure.before_right, ":"), (sure.after, sure.after_right, "-")):
        bins = calibration.reliability(confidence, hit)
        full = bins.images > 0
        left.plot(bins.confidence[full], bins.accuracy[full], style, color=color, marker="o", markersize=3)
    curve = abstention.risk_coverage(sure.after, sure.after_right)
    step = max(1, len(curve.risk) // 500)  # a line needs no more points
    label = f"{name(row)}, AURC {100 * curve.area:.2f} %"
    right.plot(curve.coverage[::step], 100 * curve.risk[::step], color=color, label=label)
