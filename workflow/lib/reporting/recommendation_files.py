"""Recommendations as files: sentences and a table in Markdown, the sentences for the terminal, and CSV for programs.

What is decided on one dataset and backbone is a file of its own: another dataset's result makes nothing of it anew.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from methods.contract.shots import ALL
from workflow.lib import files
from workflow.lib.errors import one_line
from workflow.lib.reporting.advice import between, paragraphs, percent
from workflow.lib.reporting.comparison import Row
from workflow.lib.reporting.recommendation import Advice, Recommendation
from workflow.lib.reporting.rendering import in_markdown
from workflow.lib.reporting.results import Plan
from workflow.lib.reporting.tables import name, protocol

HEADER = (
    *("dataset", "backbone", "shots", "select", "method", "variant", "params", "metric", "value", "low", "high"),
    *("uncorrected", "zero_shot", "majority", "level_with", "sure"),
)
Told = Mapping[str, Any]


def told(plan: Plan, found: Recommendation) -> dict[str, Any]:
    """All that files say of one dataset and backbone, as JSON: what `markdown` and the others put together."""
    return {
        "dataset": found.dataset,
        "backbone": found.backbone,
        "sentences": paragraphs(plan, found),
        "table": list(_rows(found)),
        "lines": list(_lines(plan, found)),
    }


def path(folder: Path, dataset: str, backbone: str) -> Path:
    """Where that lies, under results/<study>/."""
    return folder / "tables" / f"{dataset}.{backbone}.recommendation.json"


def read(folder: Path, dataset: str, backbone: str) -> Told:
    """What was told of a dataset and backbone. Raises UserError where it can't be read."""
    value: Told = files.read_json(path(folder, dataset, backbone))
    return value


def markdown(plan: Plan, found: Sequence[Told]) -> str:
    """recommendation.md: for each dataset and backbone the sentences, and what to use at every number of shots."""
    parts = [f"# {in_markdown(plan.study)}: what to use", in_markdown(NOTE), in_markdown(protocol(plan))]
    for one in found:
        first, *rest = (in_markdown(text) for text in one["sentences"])
        parts += [f"## {one['dataset']}, {one['backbone']}", f"**{first}**", *rest]
        parts += [tabulate(one["table"], _COLUMNS, "pipe", disable_numparse=True)] if one["table"] else []
    return "\n\n".join(parts) + "\n"


NOTE = (
    "Expected: what a row that is picked as the best comes to on images and supports that had no say in the pick. "
    "In the table: its mean there. Alike: the other rows that can't be told apart from the best, at a false discovery "
    "rate of 5 %. docs/protocol.md says how all of it is computed."
)
_COLUMNS = ("shots", "images", "use", "expected", "95 % interval", "in the table", "zero-shot", "alike")


def _rows(found: Recommendation) -> Iterator[list[str]]:
    for one in found.advice:
        zero = percent(one.zero.value) if one.zero else "-"
        numbers = [percent(one.value), between(one.low, one.high), percent(one.uncorrected), zero]
        yield [one.place[2], str(one.images), in_markdown(name(one.chosen.row)), *numbers, str(len(one.level))]


def plain(found: Sequence[Told]) -> str:
    """For the terminal."""
    parts = []
    for one in found:
        parts += [f"{one['dataset']}, {one['backbone']}", *map(one_line, one["sentences"]), ""]
    return "\n".join(parts)


def comma_separated(found: Sequence[Told]) -> str:
    """recommendation.csv: a line for each dataset, backbone and number of shots; fractions; empty where not known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for one in found:
        writer.writerows(one["lines"])
    return text.getvalue()


def _lines(plan: Plan, found: Recommendation) -> Iterator[dict[str, str]]:
    """Those of the CSV, the most labels last."""
    by_shots = {advice.place[2]: advice for advice in found.advice}
    for shots in sorted(plan.shots, key=lambda shots: float("inf") if shots == ALL else int(shots)):
        place = [found.dataset, found.backbone, shots, plan.select]
        rest = _cells(plan, by_shots[shots]) if shots in by_shots else [""] * (len(HEADER) - len(place))
        yield dict(zip(HEADER, [*place, *rest], strict=True))


def _cells(plan: Plan, one: Advice) -> list[str]:
    method, variant = one.chosen.row
    known = (
        one.value,
        one.low,
        one.high,
        one.uncorrected,
        None if one.zero is None else one.zero.value,
        None if one.majority is None else one.majority[0],
    )
    numbers = ["" if value is None else f"{value:.6g}" for value in known]
    params = json.dumps(dict(one.chosen.params), sort_keys=True, ensure_ascii=False)
    level = " ".join(word(row.row) for row in one.level)
    return [method, variant, params, plan.by, *numbers, level, f"{one.sure:.3f}"]


def word(row: Row) -> str:
    """`method` or `method/variant` without spaces: that of `a=1, b=2` is `a=1,b=2`."""
    method, variant = row
    return method if variant == "-" else f"{method}/{''.join(variant.split())}"
