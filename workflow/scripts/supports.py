"""Write out which images each seed draws, for others to use the same ones."""

import argparse
from pathlib import Path

from workflow.lib.evaluation import support_files
from workflow.lib.features import store
from workflow.lib.jobs.entry import run


def main() -> None:
    arguments = _arguments()
    read = store.read(arguments.features, ["train"])
    support_files.write(arguments.out, arguments.dataset, read, arguments.shots.split(","), arguments.seeds)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--features", required=True, type=Path, help="features file of the dataset")
    parser.add_argument("--shots", required=True, help="numbers of shots, separated by commas")
    parser.add_argument("--seeds", required=True, type=int)
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
