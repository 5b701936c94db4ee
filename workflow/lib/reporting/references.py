"""Published numbers beside ours."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from methods.contract.params import brief, plain
from workflow.lib.errors import UserError
from workflow.lib.reporting.results import Results
from workflow.lib.reporting.tables import Number, Table, caption, percent, shots_heading

COLUMNS = ["section", "method", "settings", "dataset", "backbone", "shots", "accuracy_percent", "note", "source"]


@dataclass(frozen=True)
class Published:
    """One published accuracy in percent: of a method with some settings, for a number of shots ("0", "5", "all")."""

    section: str
    method: str
    settings: Mapping[str, str]
    shots: str
    accuracy: float
    note: str
    source: str

    @property
    def row(self) -> tuple[str, str]:
        """What identifies its row: the method and its settings."""
        return self.method, "; ".join(f"{key}={value}" for key, value in self.settings.items())


def read(path: str | Path) -> list[Published]:
    """Read a file of published numbers. Raises UserError with the line that can't be read."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:  # spreadsheets put a mark at the start
            reader = csv.DictReader(file)
            if reader.fieldnames != COLUMNS:
                raise UserError(
                    f"{path}:1: found the columns {brief(reader.fieldnames)}, allowed: {', '.join(COLUMNS)}"
                )
            return [_published(line, f"{path}:{reader.line_num}") for line in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: no published numbers can be read from it: {error}") from error


def _published(line: Mapping[str, str], where: str) -> Published:
    try:
        if None in line or None in line.values():
            raise ValueError(f"{len(COLUMNS)} columns are wanted")
        pairs = [part.split("=") for part in line["settings"].split("; ") if part]
        settings = dict(pairs)
        if len(settings) < len(pairs):
            raise ValueError(f"settings {brief(line['settings'])} name one twice")
        if not re.fullmatch("0|[1-9][0-9]*|all", line["shots"]):
            raise ValueError(f"shots is {brief(line['shots'])}, allowed: a whole number or 'all'")
        accuracy = float(line["accuracy_percent"])
        if not 0 <= accuracy <= 100:
            raise ValueError(f"accuracy_percent is {accuracy:g}, allowed: 0 to 100")
        names = (line["section"], line["method"], settings, line["shots"], accuracy, line["note"], line["source"])
        return Published(*names)
    except ValueError as error:
        raise UserError(f"{where}: not a published number: {error}") from error


def table(results: Results, dataset: str, backbone: str, published: Sequence[Published]) -> Table:
    """Ours, the published value and the difference, row by row in the order of the source.

    Raises UserError where a row has two published values for a number of shots: one of them would silently win.
    """
    plan = results.plan
    places = [(one.row, one.shots) for one in published]
    if twice := next((place for i, place in enumerate(places) if place in places[:i]), None):
        name, at = brief(" ".join(twice[0]).strip()), brief(twice[1])
        raise UserError(f"references.{dataset}.{backbone}: two numbers for {name} with {at} shots, allowed: one")
    made = Table(f"{dataset}, {backbone}: ours (published, difference)", [shots_heading(shots) for shots in plan.shots])
    for row in dict.fromkeys(one.row for one in published):
        lines = [one for one in published if one.row == row]
        cells = [_cell(results, dataset, backbone, lines, shots) for shots in plan.shots]
        label = f"{lines[0].section} ({row[1]})" if row[1] else lines[0].section
        made.rows.append((label, cells, sorted({one.note for one in lines if one.note})))
    sources = sorted({one.source for one in published})
    published_by = f"Published: {'; '.join(sources)}. n/a: no row of this study has these settings."
    made.caption = [*caption(plan, dataset=dataset), published_by]
    return made


def _cell(results: Results, dataset: str, backbone: str, lines: Sequence[Published], shots: str) -> str | None:
    """`53.90 ± 0.21 (54.43, -0.53)`; None where either side has no number."""
    one = next((line for line in lines if line.shots in (shots, "0")), None)
    ours = None if one is None else _ours(results, dataset, backbone, one, shots)
    if one is None or ours is None:
        return None
    return f"{ours} ({one.accuracy:.2f}, {ours.mean - one.accuracy:+.2f})"


def _ours(results: Results, dataset: str, backbone: str, one: Published, shots: str) -> Number | None:
    """The accuracy of the first row whose method and settings are the published ones."""
    for (found_set, model, label, at), record in results.records.items():
        if (found_set, model, record["plugin"]) == (dataset, backbone, one.method) and at == results.plan.cell(
            label, shots
        ):
            for variant in record["variants"]:
                if all(plain(variant["params"].get(key)) == value for key, value in one.settings.items()):
                    return percent([seed["metrics"]["accuracy"] for seed in variant["seeds"]])
    return None
