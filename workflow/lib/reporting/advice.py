"""A recommendation in plain sentences."""

from collections.abc import Sequence

import numpy as np

from methods.contract.params import label
from methods.contract.shots import ALL
from workflow.lib.reporting.label_curve import TIMES
from workflow.lib.reporting.recommendation import Advice, Entrant, Recommendation
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.tables import name, shots_heading

PHRASES = {
    "accuracy": "top-1 accuracy",
    "mean_per_class": "accuracy averaged over classes",
    "macro_f1": "macro-averaged F1",
    "auroc": "area under the ROC curve",
}
LISTED = 3  # rows that are named
CHEAPER = 0.5  # of the seconds
LUCK = 0.0005  # less is not worth a sentence


def percent(value: float) -> str:
    """`88.1 %`."""
    return f"{100 * value:.1f} %"


def between(low: float, high: float) -> str:
    """`86.0 to 90.1 %`."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def paragraphs(plan: Plan, found: Recommendation) -> list[str]:
    """The recommendation in a few sentences, the first of which says what to use."""
    one = found.last
    if one is None:
        return ["No row could be run: there is nothing to recommend."]
    said = [
        [use(one)],
        [*_caution(plan), *_expected(plan, one), *_setting(plan, one)],
        _others(one),
        _costs(one),
        [*_zero_shot(plan, one), *_majority(one)],
        [*_sure(plan, one), *_per_class(found), *_absent(one)],
        more_labels(found),
    ]
    return [" ".join(sentences) for sentences in said if sentences]


def use(one: Advice) -> str:
    """What to use, and with how many labels."""
    if one.chosen is one.zero:
        return f"Use {name(one.chosen.row)}: no row is better {_labels(one)}."
    return f"Use {name(one.chosen.row)} {_labels(one)}."


def _labels(one: Advice) -> str:
    shots = one.place[2]
    return f"with {'all labels' if shots == ALL else shots_heading(shots)} ({one.images} images)"


def _caution(plan: Plan) -> list[str]:
    if plan.select != "report":
        return []
    return [
        f"Caution: epochs and hyperparameters were chosen on {plan.report} itself (select: report), which no "
        "correction takes back: every value here is too high."
    ]


def _expected(plan: Plan, one: Advice) -> list[str]:
    what, where = PHRASES[plan.by], plan.reported(one.place[0])
    where = where if where == "all images" else f"new images like those of {where}"
    said = [f"Expect {percent(one.value)} {what} on {where} (95 % interval {between(one.low, one.high)})."]
    rows = len(one.entrants)
    if one.chosen is not one.best:
        said.append(
            f"{name(one.best.row)} is higher in the table, {percent(one.best.value)}, but not by more than the luck of "
            f"the first of {rows} rows."
        )
    elif one.uncorrected - one.value > LUCK:
        luck = 100 * (one.uncorrected - one.value)
        said.append(
            f"The table says {percent(one.uncorrected)}: {luck:.1f} points are the luck of the first of {rows} rows."
        )
    return said


def _setting(plan: Plan, one: Advice) -> list[str]:
    said = [f"Its parameters: {label(dict(one.chosen.params))}."] if one.chosen.params else []
    if one.chosen.learns and plan.select not in ("last", "report"):
        said.append(f"Where there is an epoch or a setting to choose, {plan.select} chooses it for each support.")
    return said


def _others(one: Advice) -> list[str]:
    if len(one.entrants) == 1:
        return ["It is the only row: there is nothing to compare it with."]
    if not one.level:
        return ["Every other row is worse, at a false discovery rate of 5 %."]
    many = "1 other row" if len(one.level) == 1 else f"{len(one.level)} other rows"
    return [f"{many} can't be told apart from it: {_names(one.level)}."]


def _costs(one: Advice) -> list[str]:
    """What the row takes, and which of those that can't be told apart from it take less."""
    if not one.level:
        return []
    cheaper = sorted(cheaper_than(one.chosen, one.level), key=lambda row: (row.numbers, row.seconds))
    listed = "; ".join(f"{name(row.row)}, {percent(row.value)}, {_takes(row)}" for row in cheaper[:LISTED])
    more = f"; and {len(cheaper) - LISTED} more" if len(cheaper) > LISTED else ""
    return [f"It {_takes(one.chosen)}. " + (f"Cheaper: {listed}{more}." if cheaper else "None of them is cheaper.")]


def cheaper_than(chosen: Entrant, rows: Sequence[Entrant]) -> list[Entrant]:
    """The rows that train fewer numbers, or take at most half of the time to fit."""
    return [row for row in rows if row.numbers < chosen.numbers or row.seconds <= CHEAPER * chosen.seconds]


def _names(rows: Sequence[Entrant]) -> str:
    more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    return ", ".join(name(row.row) for row in rows[:LISTED]) + more


def _takes(one: Entrant) -> str:
    numbers = f"trains {one.numbers} numbers" if one.numbers else "trains nothing"
    return f"{numbers} and takes {one.seconds:.2g} s a fit"


def _zero_shot(plan: Plan, one: Advice) -> list[str]:
    if one.zero is None:
        lacking = not any("zero_shot" in row for row in one.absent)
        return ["No row is zero-shot: what labels are worth can't be said."] if lacking else []
    if one.gain is None:
        return ["It needs no labels and no training."]
    points = f"{100 * one.gain.mean:.1f} points ({100 * one.gain.low:.1f} to {100 * one.gain.high:.1f})"
    has = f"{name(one.zero.row)}, which needs no labels, has {percent(one.zero.value)}"
    if one.shown:
        return [f"{has}: whoever stays with it gives up {points}."]
    return [f"It is not shown to be better than zero-shot: {has}, and the difference is {points}."]


def _majority(one: Advice) -> list[str]:
    if one.majority is None or one.low > one.majority[0]:
        return []
    value, largest = one.majority
    always = f"always saying '{largest}', the largest class, which gets {percent(value)}"
    if one.value <= value:
        return [f"No row is better than {always}."]
    return [f"No row is shown to be better than {always}."]


def _sure(plan: Plan, one: Advice) -> list[str]:
    said = []
    if len(one.entrants) > 1:
        what = "images and seeds" if plan.seeds > 1 else "images"
        said.append(f"How sure: it came first in {100 * one.sure:.0f} of 100 resamples of {what}.")
    if plan.seeds == 1:
        said.append("With one seed nothing is known of other supports: the interval is about images alone.")
    return said


def _per_class(found: Recommendation) -> list[str]:
    if found.per_class is None:
        return []
    row, value = found.per_class
    return [f"Classes have unequal numbers of images: averaged over classes {name(row)} is first, {percent(value)}."]


def _absent(one: Advice) -> list[str]:
    if not one.absent:
        return []
    told = [f"{name(row)} ({reason})" for row, reason in list(one.absent.items())[:LISTED]]
    more = f"; and {len(one.absent) - LISTED} more" if len(one.absent) > LISTED else ""
    return [f"Not run: {'; '.join(told)}{more}."]


def more_labels(found: Recommendation) -> list[str]:
    """What twice and four times the labels would bring."""
    curve, row = found.curve, found.of
    if curve is None or row is None:
        return []
    if curve.law is None:
        return [f"What more labels would bring to {name(row)} can't be said: {curve.reason}."]
    parts = []
    for times, (middle, low, high) in zip(TIMES, curve.expected(curve.images[-1] * np.array(TIMES)).T, strict=True):
        count = round(times * curve.images[-1])
        parts.append(f"{percent(middle)} ({between(low, high)}) with {times} times the labels, {count} images")
    said = [
        f"More labels: {name(row)} should reach {' and '.join(parts)}, if its error goes on as it fell so far; the "
        f"curve misses the measured values by up to {100 * curve.misfit:.1f} points."
    ]
    if curve.check is not None:
        there = f"{percent(curve.check)} there, and it is {percent(curve.values[-1])}"
        said.append(f"Fitted without the last number of labels the curve says {there}.")
    return said
