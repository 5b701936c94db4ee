"""Draw the figures of a study from its cells' records."""

import argparse
import json
from pathlib import Path

from workflow.lib.jobs.entry import run
from workflow.lib.reporting import figures, reliability
from workflow.lib.reporting.results import Plan, gather


def main() -> None:
    arguments = _arguments()
    plan = Plan(**json.loads(arguments.plan))
    results = gather(plan, arguments.folder)
    for dataset in plan.datasets:
        for backbone in plan.backbones:
            path = arguments.folder / "figures" / f"{dataset}.{backbone}.svg"
            figures.write(figures.accuracy_figure(results, dataset, backbone), path)
            if plan.calibrates:
                drawn = reliability.figure(results, arguments.folder, dataset, backbone)
                figures.write(drawn, path.with_suffix(".calibration.svg"))
    figures.write(figures.peeking_figure(results), arguments.folder / "figures" / "peeking.svg")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the study's grid and protocol as JSON")
    parser.add_argument("--folder", required=True, type=Path, help="results/<study>")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
