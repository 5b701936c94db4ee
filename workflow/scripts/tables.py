"""Render the tables of a study from its cells' records, and results.csv."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from workflow.lib import comparison, files, references, tables
from workflow.lib.errors import UserError, run
from workflow.lib.results import Plan, Results, gather, tidy, trainings


def main() -> None:
    arguments = _arguments()
    plan = Plan(**json.loads(arguments.plan))
    results = gather(plan, arguments.folder)
    if results.missing:
        raise UserError(f"{results.missing[0]}: missing, and {len(results.missing) - 1} more: run the study first")
    made = render(results, arguments.folder)
    write(results, made, arguments.folder / "tables")
    for name, table in made.items():
        if name != "comparison":  # too wide for a terminal
            print(tables.plain(table))
    print(f"{trainings(results)}\nThe tables lie in {arguments.folder / 'tables'}/, every number in results.csv there.")


def render(results: Results, folder: Path) -> dict[str, tables.Table]:
    """All tables by file name, the summary last."""
    plan = results.plan
    made = {f"{d}.{b}": tables.dataset_table(results, d, b) for d in plan.datasets for b in plan.backbones}
    for pair, path in plan.references.items():
        dataset, backbone = pair.split(".")
        made[f"{pair}.reference"] = references.table(results, dataset, backbone, references.read(path))
    scores = comparison.matrix(comparison.rings(plan, folder), plan.rows())
    made["comparison"] = tables.comparison_table(results, scores)
    return made | {"summary": tables.summary_table(results)}


def write(results: Results, made: Mapping[str, tables.Table], folder: Path) -> None:
    """Every table in every format, and results.csv."""
    for name, table in made.items():
        for suffix, render in tables.FORMATS.items():
            files.write_text(folder / f"{name}.{suffix}", render(table))
    files.write_text(folder / "results.csv", tidy(results))
    files.write_json(folder.parent / "study.json", asdict(results.plan))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the study's grid and protocol as JSON")
    parser.add_argument("--folder", required=True, type=Path, help="results/<study>")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
