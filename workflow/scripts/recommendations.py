"""Join what a study recommends on each of its datasets, and say it."""

import sys

from workflow.lib import files
from workflow.lib.errors import say
from workflow.lib.jobs.entry import run
from workflow.lib.reporting import options, recommendation_files


def main() -> None:
    arguments = options.parser(__doc__).parse_args()
    found = [recommendation_files.read(arguments.folder, *pair) for pair in arguments.plan.pairs()]
    tables = arguments.folder / "tables"
    files.write_text(tables / "recommendation.md", recommendation_files.markdown(arguments.plan, found))
    files.write_text(tables / "recommendation.csv", recommendation_files.comma_separated(found))
    say(f"{recommendation_files.plain(found)}\nWhat to use stands in {tables}/recommendation.md.", sys.stdout)


if __name__ == "__main__":
    run(main)
