"""Draw the figures of a study from its cells' records."""

from pathlib import Path

from matplotlib.figure import Figure

from workflow.lib.jobs.entry import run
from workflow.lib.reporting import figures, options, reliability
from workflow.lib.reporting.results import gather

FORMATS = ("svg", "pdf", "png")


def main() -> None:
    arguments = options.parser(__doc__).parse_args()
    plan = arguments.plan
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


if __name__ == "__main__":
    run(main)
