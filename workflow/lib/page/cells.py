"""The cells of the studies for the page: every row's numbers at every number of shots, and what a cell came from."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflow.lib.evaluation.records import Record
from workflow.lib.page import quantities
from workflow.lib.page.layout import Layout, Source
from workflow.lib.reporting.results import Key

_LOG_LINES, _LOG_CHARACTERS = 6, 600
_LOGS = 400_000  # characters of all logs together: beyond it they stay where they are
_CURVES = 500_000  # points of all curves together, likewise


@dataclass
class Interned:
    """Values that many cells share, each once."""

    values: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def number(self, value: Any) -> int:
        """Where the value stands."""
        text = json.dumps(value, sort_keys=True)
        if text not in self._places:
            self._places[text] = len(self.values)
            self.values.append(value)
        return self._places[text]


def metric_names(layout: Layout) -> list[str]:
    """Every metric that some seed of some study has."""
    return quantities.of(
        name
        for source in layout.sources
        for record in source.results.records.values()
        for variant in record["variants"]
        for seed in variant["seeds"]
        for name in seed["metrics"]
    )


def of(layout: Layout, names: Sequence[str]) -> dict[str, Any]:
    """`cells`, one for each record; `entries`, one for each row in each of them; and the `origins` that they share."""
    origins, cells, entries = Interned(), list[dict[str, Any]](), list[dict[str, Any]]()
    curves = sum(len(seed["curve"]) for *_, seed in _seeds(layout)) <= _CURVES
    for study, source in enumerate(layout.sources):
        for key, record in source.results.records.items():
            where = {"p": layout.pairs.index(key[:2]), "s": layout.shot(key[3]), "c": len(cells)}
            cells.append(_cell(source, key, record, origins))
            for variant in record["variants"]:
                row = (key[2], variant["variant"])
                entries.append({"r": layout.row(study, row), **where} | _entry(record, variant, names, curves))
    _drop_logs(cells)
    return {"cells": cells, "entries": entries, "origins": origins.values}


def _seeds(layout: Layout) -> Iterator[tuple[Record, Record, Record]]:
    for source in layout.sources:
        for record in source.results.records.values():
            yield from ((record, variant, seed) for variant in record["variants"] for seed in variant["seeds"])


def _cell(source: Source, key: Key, record: Record, origins: Interned) -> dict[str, Any]:
    """What is one for all rows of a cell."""
    provenance = dict(record["provenance"])
    made = {"seconds": record["seconds"], "support": record["support"], "plugin": record["plugin"]}
    made |= {"mb": provenance.pop("peak_memory_mb"), "gpu_mb": provenance.pop("peak_gpu_memory_mb")}
    return made | {"origin": origins.number(provenance), "log": _log(source, key)}


def _log(source: Source, key: Key) -> str:
    """The end of a cell's log, if there is any."""
    path = source.folder.joinpath("logs", *key[:3], f"{key[3]}.log")
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LOG_LINES:])[-_LOG_CHARACTERS:]


def _drop_logs(cells: Sequence[dict[str, Any]]) -> None:
    if sum(len(cell["log"]) for cell in cells) > _LOGS:
        for cell in cells:
            cell["log"] = ""


def _entry(record: Record, variant: Record, names: Sequence[str], curves: bool) -> dict[str, Any]:
    """One row in a cell: its parameters, its seeds, and means and deviations under each regime."""
    seeds = variant["seeds"]
    made: dict[str, Any] = {"params": variant["params"], "trainable": variant["trainable_parameters"]}
    made |= {"bytes": variant["classifier_bytes"]} if "classifier_bytes" in variant else {}
    if variant["reason"]:
        return made | {"why": variant["reason"]}
    regimes = {record["protocol"]["select"]: seeds}
    regimes |= {also: [seed["also"][also] for seed in seeds] for also in record["protocol"].get("also", [])}
    made["stats"] = {
        regime: quantities.spreads(names, [choice["metrics"] for choice in choices])
        for regime, choices in regimes.items()
    }
    made["seeds"] = [_seed(seed, names, curves) for seed in seeds]
    gaps = [gap for seed in seeds if (gap := _gap(record, seed)) is not None]
    return made | ({"gap": round(sum(gaps) / len(gaps), 2)} if gaps else {})


def _gap(record: Record, seed: Record) -> float | None:
    """What choosing on the reported split would have added, in points."""
    by, metrics = record["protocol"].get("metric", "accuracy"), seed["metrics"]
    return 100 * (metrics[f"{by}_peek"] - metrics[f"{by}_last"]) if f"{by}_peek" in metrics else None


def _seed(seed: Record, names: Sequence[str], curves: bool) -> dict[str, Any]:
    made = {"seed": seed["seed"], "m": quantities.picked(names, seed["metrics"]), "point": seed["point"]}
    if curves and seed["curve"]:
        made |= {"curve": [round(100 * value, 2) for value in seed["curve"]], "at": seed["curve_at"]}
    return made | ({"notes": seed["notes"]} if seed["notes"] else {})
