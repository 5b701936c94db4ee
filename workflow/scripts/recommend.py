"""Say which row of a study to use, at every number of shots, and what more labels would bring."""

import argparse
import json
from pathlib import Path

from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import figures, label_figure, recommendation, recommendation_files
from workflow.lib.reporting.results import Plan, gather


def main() -> None:
    arguments = _arguments()
    plan = Plan(**json.loads(arguments.plan))
    results = gather(plan, arguments.folder)
    if results.missing:
        raise UserError(f"{results.missing[0]}: missing, and {len(results.missing) - 1} more: run the study first")
    found = []
    for one in recommendation.recommendations(results, arguments.folder):
        path = arguments.folder / "figures" / f"{one.dataset}.{one.backbone}.labels.svg"
        figures.write(label_figure.figure(plan, one), path)
        found.append(one)
    tables = arguments.folder / "tables"
    files.write_text(tables / "recommendation.md", recommendation_files.markdown(plan, found))
    files.write_text(tables / "recommendation.csv", recommendation_files.comma_separated(plan, found))
    print(f"{recommendation_files.plain(plan, found)}\nWhat to use stands in {tables}/recommendation.md.")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the study's grid and protocol as JSON")
    parser.add_argument("--folder", required=True, type=Path, help="results/<study>")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
