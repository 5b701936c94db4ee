"""Draw the figures of a study from its cells' records."""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure

from workflow.lib.jobs.entry import run
from workflow.lib.reporting import figures, reliability
from workflow.lib.reporting.results import Plan, gather

FORMATS = ("svg", "pdf", "png")


def main() -> None:
    arguments = _arguments()
    plan = Plan(**json.loads(arguments.plan))
    results = gather(plan, arguments.folder)
    for dataset, backbone in plan.pairs():
        _write(figures.accuracy_figure(results, dataset, backbone), arguments.folder, f"{dataset}.{backbone}")
        if plan.calibrates:
            drawn = reliability.figure(results, arguments.folder, dataset, backbone)
            _write(drawn, arguments.folder, f"{dataset}.{backbone}.calibration")
    _write(figures.peeking_figure(results), arguments.folder, "peeking")


def _write(figure: Figure, folder: Path, name: str) -> None:
    for suffix in FORMATS:
        figures.write(figure, folder / "figures" / f"{name}.{suffix}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", required=True, help="the study's grid and protocol as JSON")
    parser.add_argument("--folder", required=True, type=Path, help="results/<study>")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
