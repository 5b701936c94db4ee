"""The table of a dataset that says how far its rows can be trusted: calibration, prediction sets, answers given."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from workflow.lib.evaluation.records import Record
from workflow.lib.reporting.results import Plan, Results
from workflow.lib.reporting.tables import Cell, Table, name, protocol, shots_heading

PLAIN, PERCENT = 1, 100
# Heading, metric, scale. Percent where it is a share; nats for NLL.
BEFORE_AND_AFTER = (
    ("NLL", "nll", PLAIN),
    ("NLL calibrated", "nll_calibrated", PLAIN),
    ("ECE", "ece", PERCENT),
    ("ECE calibrated", "ece_calibrated", PERCENT),
    ("Brier", "brier", PLAIN),
    ("Brier calibrated", "brier_calibrated", PLAIN),
    ("temperature", "temperature", PLAIN),
)
SETS = (
    ("coverage", "coverage", PERCENT),
    ("band", "band", PERCENT),
    ("set size", "set_size", PLAIN),
    ("coverage, by class", "coverage_mondrian", PERCENT),
    ("band, by class", "band_mondrian", PERCENT),
    ("set size, by class", "set_size_mondrian", PLAIN),
)
ANSWERS = (("answered", "answered", PERCENT), ("error of these", "answered_error", PERCENT), ("AURC", "aurc", PERCENT))
COLUMNS = (*BEFORE_AND_AFTER, *SETS, *ANSWERS)
IMAGES = {
    "val": "val",
    "val_fewshot": "the images of val that the regime chose on",
    "support_cv": "the support out of its folds",
}


def table(results: Results, dataset: str, backbone: str) -> Table:
    """A line for each row and number of shots that has been computed; n/a with a footnote where nothing calibrates."""
    plan = results.plan
    made = Table(f"{dataset}, {backbone}: calibration", ["shots", *(heading for heading, *_ in COLUMNS)])
    settings: dict[str, Any] = {}
    for row, shots, seeds in _lines(results, dataset, backbone):
        told = [seed["calibration"] for seed in seeds]
        settings = settings or next((one for one in told if "level" in one), {})
        reasons = [f"not calibrated: {one['reason']}" for one in told if "reason" in one]
        cells: list[Cell] = [_cell(seeds, metric, scale) for _, metric, scale in COLUMNS]
        made.rows.append((name(row), [shots_heading(shots), *cells], list(dict.fromkeys(reasons))))
    made.caption = [*_caption(plan, dataset, settings), protocol(plan, dataset)]
    return made


def _lines(results: Results, dataset: str, backbone: str) -> Iterator[tuple[tuple[str, str], str, Sequence[Record]]]:
    """Rows with the shots of their cells and their seeds, as far as there was something to calibrate for."""
    plan = results.plan
    for label, variant in plan.rows():
        for shots in dict.fromkeys(plan.cell(label, shots) for shots in plan.shots):
            record = results.records.get((dataset, backbone, label, shots), {"variants": []})
            for one in record["variants"]:
                if one["variant"] == variant and all("calibration" in seed for seed in one["seeds"]) and one["seeds"]:
                    yield (label, variant), shots, one["seeds"]


def _cell(seeds: Sequence[Record], metric: str, scale: int) -> str | None:
    """`mean ± standard deviation` over the seeds that have it; of a band its ends, the widest of the seeds'."""
    if metric.startswith("band"):
        bands = [seed["calibration"][metric] for seed in seeds if metric in seed["calibration"]]
        ends = (min(low for low, _ in bands), max(high for _, high in bands)) if bands else ()
        return " to ".join(f"{scale * end:.2f}" for end in ends) or None
    values = scale * np.array([seed["metrics"][metric] for seed in seeds if metric in seed["metrics"]])
    if not len(values):
        return None
    digits = 2 if scale == PERCENT else 3
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _caption(plan: Plan, dataset: str, settings: Record) -> list[str]:
    reported = plan.reported(dataset)
    if not settings:
        return [f"On {reported}. Nothing was calibrated: the footnotes say why."]
    level, error = (f"{100 * settings[key]:g} %" for key in ("level", "error"))
    how = {"temperature": "A temperature", "isotonic": "Isotonic regression of each class"}[settings["method"]]
    over = f"mean ± standard deviation over {plan.seeds} seeds" if plan.seeds > 1 else "from 1 seed"
    return [
        f"Measured on {reported}, {over}. {how} is fitted to {IMAGES[settings['held_out']]}, never to {plan.report}; "
        "no accuracy hangs on it. NLL in nats, ECE over 15 equal bins and shares in percent, Brier from 0 to 2.",
        f"Prediction sets at a level of {level}, with one threshold and with one for each class (by class): how many "
        "hold the true class, the band in which 95 of 100 such coverages should lie, and how many classes they hold.",
        f"Answered: as many as leave at most {error} wrong among them by the images that calibrate; error of these on "
        f"{reported}. AURC: the area under the risk-coverage curve, in percent.",
    ]
