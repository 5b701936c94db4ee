"""A page for a browser, in one file: the results of a study, or of several side by side.

A study that is still running, or has failed cells, gives a page of what there is, which says what is missing and why.
"""

import argparse
import sys
from pathlib import Path

from workflow.lib import files
from workflow.lib.errors import UserError, say
from workflow.lib.jobs.entry import run
from workflow.lib.page.content import content
from workflow.lib.page.document import document
from workflow.lib.page.layout import Source
from workflow.lib.reporting import comparison, missing, options
from workflow.lib.reporting.results import Plan, gather


def main() -> None:
    arguments = _arguments()
    if arguments.plan and len(arguments.folders) > 1:
        raise UserError(f"--plan is that of one study; found {len(arguments.folders)} folders")
    plans = [arguments.plan or Plan.read(one) for one in arguments.folders]
    if repeated := next((plan.study for i, plan in enumerate(plans) if plan.study in [p.study for p in plans[:i]]), ""):
        raise UserError(f"two studies are called {repeated}; allowed: studies of different names")
    made = [source(folder, plan) for folder, plan in zip(arguments.folders, plans, strict=True)]
    title = ", ".join(plan.study for plan in plans)
    page = document(content(made, arguments.data), f"{title}: report")
    files.write_text(arguments.out, page)
    size = f"{len(page.encode()) / 2**20:.1f} MB"
    say(f"{arguments.out}: {size}, {_cells(made)}; open it in a browser", sys.stdout)


def source(folder: Path, plan: Plan) -> Source:
    """A study as the page gets it: what there is of it."""
    results = gather(plan, folder)
    predictions = comparison.gather(plan, folder, plan.by, results.records)
    return Source(folder, results, predictions, missing.reasons(results.missing, folder))


def _cells(made: list[Source]) -> str:
    there, gone = (sum(map(len, found)) for found in ([s.results.records for s in made], [s.missing for s in made]))
    return f"{there} of {there + gone} cells" if gone else f"{there} cells"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="results/<study>")
    parser.add_argument("--out", required=True, type=Path, help="the file to write")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of the datasets (default: data)")
    parser.add_argument(
        "--plan", type=options.plan, help="the grid and protocol of a study that is not complete, as JSON"
    )
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
