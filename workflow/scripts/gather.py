"""Gather the shards of an extraction into one file, without loading them."""

from __future__ import annotations

import argparse
from pathlib import Path

from workflow.lib import errors, features, index, shards


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.gather", description=__doc__)
    parser.add_argument("--index", required=True, type=Path, help="index of the images")
    parser.add_argument("--out", required=True, type=Path, help="the features file to write")
    parser.add_argument("parts", nargs="+", type=Path, help="what the shards wrote, in their order")
    return parser.parse_args()


def main() -> None:
    """Read, join, write, a few MB at a time."""
    arguments = parse_arguments()
    parts = [shards.read(path) for path in arguments.parts]
    features.write(arguments.out, shards.gather(index.read_index(arguments.index), parts))


if __name__ == "__main__":
    errors.run(main)
