"""All that the page of one study or several knows, as one JSON value."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workflow.lib.evaluation.protocol import REGIMES
from workflow.lib.features import took
from workflow.lib.page import answers, cells, duels, pictures, quantities, trust
from workflow.lib.page.layout import Layout, Source
from workflow.lib.reporting import balance, recommendation_files, rendering
from workflow.lib.reporting.results import mean_ranks, trainings
from workflow.lib.reporting.tables import LEVEL, peeking_caption, protocol

FORMAT = 1


def content(sources: Sequence[Source], data: Path | None = None) -> dict[str, Any]:
    """The data of the page; every text in it is shown as text, whatever it says.

    `data` is the folder with the datasets' indices, for small pictures of images; none are shown without it.
    """
    layout = Layout(sources)
    names = cells.metric_names(layout)
    return {
        "format": FORMAT,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "studies": [_study(source) for source in sources],
        "metrics": [quantities.described(name) for name in names],
        "regimes": REGIMES,
        "shots": layout.shots,
        "rows": layout.described_rows(),
        "places": [_place(layout, pair) for pair in layout.pairs],
        "level": LEVEL,
        "latex": rendering.LATEX,
        "ranks": [rank for source in sources for rank in _ranks(source)],
        "images": pictures.of(layout, data),
        **cells.of(layout, names),
        **duels.of(layout, names),
        **answers.of(layout),
        **trust.of(layout),
    }


def _ranks(source: Source) -> list[float | None]:
    """The mean rank of every row of a study by its metric; None where a cell is missing."""
    return [None if math.isnan(rank) else round(rank, 2) for rank in mean_ranks(source.results).values()]


def _study(source: Source) -> dict[str, Any]:
    """What ran, on what, when, from which commit, and what is missing."""
    results = source.results
    plan, records = results.plan, list(results.records.values())
    origins = [record["provenance"] for record in records]
    paths = [plan.path(source.folder, *key) for key in results.records]
    days = sorted(time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime)) for path in paths if path.exists())
    return {
        "name": plan.study,
        "protocol": protocol(plan),
        "recommended": list(_recommended(source)),
        "regimes": [plan.select, *plan.also],
        "report": plan.reported(),
        "by": plan.by,
        "seeds": plan.seeds,
        "cells": [len(records), len(plan.cells())],
        "trainings": trainings(results),
        "days": list(dict.fromkeys([days[0], days[-1]])) if days else [],
        "commits": sorted({origin["commit"] for origin in origins} - {""}),
        "devices": sorted({origin["device"] for origin in origins}),
        "missing": [list(one) for one in source.missing],
        "peeking": peeking_caption(plan),
        "grid": {"datasets": plan.datasets, "backbones": plan.backbones, "shots": plan.shots},
    }


def _recommended(source: Source) -> Iterator[dict[str, Any]]:
    """What is recommended on each dataset and backbone, where all cells are there that decide it."""
    plan = source.results.plan
    unfinished = {key[:2] for key in plan.cells() if key not in source.results.records}
    for pair in plan.pairs():
        if pair not in unfinished and recommendation_files.path(source.folder, *pair).is_file():
            told = recommendation_files.read(source.folder, *pair)
            yield {"dataset": pair[0], "backbone": pair[1], "lines": told["sentences"]}


def _place(layout: Layout, pair: tuple[str, str]) -> dict[str, Any]:
    """A dataset under a backbone: its size, its prompts, what must be known of its images."""
    made: dict[str, Any] = {"dataset": pair[0], "backbone": pair[1], "notes": []}
    for source in layout.sources:
        results, plan = source.results, source.results.plan
        found = next((one for key, one in results.records.items() if key[:2] == pair), None)
        if found is None or "classes" in made:
            continue
        notes = [*results.prompts(*pair), *results.missing_images(*pair)]
        made |= {"classes": found["classes"], "queries": found["queries"], "reported": plan.reported(pair[0])}
        made["extraction"] = took.read(found["provenance"]["features"])
        made["notes"] = notes + balance.shifts(plan, source.predictions, pair)
        if largest := balance.majority(source.predictions, pair, plan.by):
            made["majority"] = [round(100 * largest[0], 2), largest[1]]
    return made
