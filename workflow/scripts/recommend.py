"""Decide which row of a study to use on each dataset, at every number of shots, and what more labels would bring."""

from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import figures, label_figure, options, recommendation, recommendation_files
from workflow.lib.reporting.results import gather


def main() -> None:
    arguments = options.parser(__doc__).parse_args()
    plan, folder = arguments.plan, arguments.folder
    results = gather(plan, folder)
    if results.missing:
        raise UserError(f"{results.missing[0]}: missing, and {len(results.missing) - 1} more: run the study first")
    for one in recommendation.recommendations(results, folder):
        path = folder / "figures" / f"{one.dataset}.{one.backbone}.labels.svg"
        figures.write(label_figure.figure(plan, one), path)
        told = recommendation_files.told(plan, one)
        files.write_json(recommendation_files.path(folder, one.dataset, one.backbone), told)


if __name__ == "__main__":
    run(main)
