"""What a record's metrics are called on the page, whether they are shares, and which way is better."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from workflow.lib.evaluation.scoring import METRICS

# By name: what it is called, whether it is a share that is shown in percent, and which way is better ("" neither).
_KNOWN: dict[str, tuple[str, bool, str]] = {
    "accuracy": ("accuracy", True, "high"),
    "mean_per_class": ("mean per class", True, "high"),
    "macro_f1": ("macro F1", True, "high"),
    "auroc": ("AUROC", True, "high"),
    "top5": ("top-5 accuracy", True, "high"),
    "nll": ("negative log-likelihood", False, "low"),
    "ece": ("calibration error (ECE)", True, "low"),
    "brier": ("Brier score", False, "low"),
    "nll_calibrated": ("negative log-likelihood, calibrated", False, "low"),
    "ece_calibrated": ("calibration error (ECE), calibrated", True, "low"),
    "brier_calibrated": ("Brier score, calibrated", False, "low"),
    "temperature": ("temperature", False, ""),
    "coverage": ("coverage of prediction sets", True, ""),
    "set_size": ("classes in a prediction set", False, "low"),
    "coverage_mondrian": ("coverage of prediction sets, by class", True, ""),
    "set_size_mondrian": ("classes in a prediction set, by class", False, "low"),
    "answered": ("answered", True, "high"),
    "answered_error": ("error among the answered", True, "low"),
    "aurc": ("area under the risk-coverage curve", True, "low"),
    "fit_seconds": ("fit, seconds", False, "low"),
}
_ASIDE = ("_last", "_peek")  # of the peeking gap, which has a place of its own


def of(found: Iterable[str]) -> list[str]:
    """The names of metrics in the order of the page: those that are known first, others by the alphabet."""
    there = {name for name in found if not name.endswith(_ASIDE)}
    return [name for name in _KNOWN if name in there] + sorted(there - _KNOWN.keys())


@cache
def described(name: str) -> dict[str, Any]:
    """A metric for the page; of one that is not known here the name is all there is to say."""
    label, percent, better = _KNOWN.get(name, (name.replace("_", " "), False, ""))
    return {"name": name, "label": label, "percent": percent, "better": better, "decides": name in METRICS}


def shown(name: str, value: float) -> float:
    """A value as the page shows it: percent with two decimals like the tables, anything else with four digits."""
    return round(100 * value, 2) if described(name)["percent"] else float(f"{value:.4g}")


def spreads(names: Sequence[str], seeds: Sequence[Mapping[str, float]]) -> list[list[float | None] | None]:
    """Mean and standard deviation (n - 1) of each metric over seeds, as shown; None where a seed lacks it."""
    there = [name for name in names if seeds and all(name in metrics for metrics in seeds)]
    if not there:
        return [None] * len(names)
    values = np.array([[metrics[name] for metrics in seeds] for name in there])
    values *= np.array([[100.0 if described(name)["percent"] else 1.0] for name in there])
    means = values.mean(1).tolist()
    deviations = values.std(1, ddof=1).tolist() if len(seeds) > 1 else [None] * len(there)
    found = {name: [_rounded(name, x) for x in both] for name, *both in zip(there, means, deviations, strict=True)}
    return [found.get(name) for name in names]


def _rounded(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, 2) if described(name)["percent"] else float(f"{value:.4g}")


def picked(names: Sequence[str], metrics: Mapping[str, float]) -> list[float | None]:
    """A seed's metrics in the order of `names`; None where it has none."""
    return [shown(name, metrics[name]) if name in metrics else None for name in names]
