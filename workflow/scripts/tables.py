"""Render the tables of a study from its cells' records, and results.csv."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from workflow.lib import files
from workflow.lib.errors import UserError, say
from workflow.lib.features.duplicates import Report
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import (
    balance,
    calibration,
    comparison,
    missing,
    options,
    references,
    rendering,
    summaries,
    tables,
)
from workflow.lib.reporting.results import Results, gather, tidy, trainings


def main() -> None:
    arguments = _arguments()
    plan = arguments.plan
    pending = [tuple(key) for key in json.load(sys.stdin)] if arguments.early else []
    results = gather(plan, arguments.folder, frozenset(pending))
    partial = arguments.partial or arguments.early
    if results.missing and not partial:
        raise UserError(f"{results.missing[0]}: missing, and {len(results.missing) - 1} more: run the study first")
    made = render(results, arguments.folder, shared(arguments.duplicates))
    if results.missing:
        made = {name: unfinished(table, results) for name, table in made.items()}
    into = arguments.folder / ("partial_tables" if partial else "tables")
    write(results, made, into)
    if arguments.early:
        return
    for name, table in made.items():
        if not name.endswith(
            ("comparison", "peeking", "intervals", "per_class", "calibration")
        ):  # too large, or an aside
            say(rendering.plain(table), sys.stdout)
    say(f"{trainings(results)}\nThe tables lie in {into}/, every number in results.csv there.", sys.stdout)
    if arguments.partial:
        say(_report_missing(results, arguments.folder, into), sys.stdout)
    else:
        files.write_json(arguments.folder / "study.json", asdict(plan))


def unfinished(table: tables.Table, results: Results) -> tables.Table:
    """The table, which says that cells are missing."""
    there, missing = len(results.records), len(results.missing)
    return replace(table, caption=[f"Unfinished: {there} of {there + missing} cells are there.", *table.caption])


def _report_missing(results: Results, folder: Path, into: Path) -> str:
    """Write and return which cells are missing, each with the last line of its log: why."""
    lines = [f"{path}: {why}" for path, why in missing.reasons(results.missing, folder)]
    files.write_text(into / "missing.txt", "".join(f"{line}\n" for line in lines))
    return "\n".join([f"{len(lines)} cells are missing, listed in {into / 'missing.txt'}:", *lines])


def shared(paths: Sequence[Path]) -> dict[str, Report]:
    """What the splits of each dataset share by each backbone, as far as it is known: by `<dataset>.<backbone>`."""
    return {
        f"{path.name.removesuffix('.duplicates.json')}.{path.parent.name}": Report.from_json(
            files.read_json(path), str(path)
        )
        for path in paths
        if path.is_file()
    }


def render(results: Results, folder: Path, doubles: Mapping[str, Report]) -> dict[str, tables.Table]:
    """All tables by file name, the summary last."""
    plan = results.plan
    pairs = {f"{dataset}.{backbone}": (dataset, backbone) for dataset, backbone in plan.pairs()}
    found = comparison.gather(plan, folder, plan.by, results.records)
    shown = {name: balance.shown(plan, found, [pair]) for name, pair in pairs.items()}
    places = {
        metric: comparison.rings(plan, found, metric)
        for metric in dict.fromkeys([plan.by, *balance.shown(plan, found, plan.pairs())])
    }
    level = {metric: comparison.level_with_best(rings) for metric, rings in places.items()}
    made = {name: tables.dataset_table(results, *pair, level, found) for name, pair in pairs.items()}
    for name, pair in pairs.items():
        if name in doubles:
            made[name].caption = [*made[name].caption, *tables.shared_images(doubles[name])]
        of_pair = {metric: places[metric] for metric in shown[name]}
        made[f"{name}.intervals"] = summaries.intervals_table(plan, of_pair, *pair)
        made[f"{name}.per_class"] = summaries.per_class_table(plan, found, *pair)
        if name in plan.references:
            published = references.read(plan.references[name])
            made[f"{name}.reference"] = references.table(results, *pair, published)
        if plan.calibrates:
            made[f"{name}.calibration"] = calibration.table(results, *pair)
        if plan.also:
            made[f"{name}.regimes"] = tables.regimes_table(results, *pair, shown[name])
    if plan.also and "last" in (plan.select, *plan.also):
        made["gains"] = tables.gains_table(results)
    made["peeking"] = tables.peeking_table(results)
    made["comparison"] = summaries.comparison_table(results, comparison.matrix(places[plan.by], plan.rows()), found)
    return made | {"summary": summaries.summary_table(results, found)}


def write(results: Results, made: Mapping[str, tables.Table], folder: Path) -> None:
    """Every table in every format, and results.csv."""
    for name, table in made.items():
        for suffix, render in rendering.FORMATS.items():
            files.write_text(folder / f"{name}.{suffix}", render(table))
    files.write_text(folder / "results.csv", tidy(results))


def _arguments() -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument(
        "--duplicates", nargs="*", default=[], type=Path, help="what splits share, a file for each table"
    )
    parser.add_argument("--partial", action="store_true", help="tables of what there is, and what is missing and why")
    early = "tables of what there is, without a word; cells that are to be computed come as JSON on standard input"
    parser.add_argument("--early", action="store_true", help=early)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
