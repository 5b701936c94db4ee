"""Gather the shards of an extraction into one file, without loading them."""

from __future__ import annotations

import argparse
from pathlib import Path

from workflow.lib.data import index
from workflow.lib.encoding import shards
from workflow.lib.features import arrays, store
from workflow.lib.jobs import entry


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
    found = index.read_index(arguments.index)
    if any(part.array for part in parts):
        arrays.write(arguments.out, shards.gather_array(found, parts))
    else:
        store.write(arguments.out, shards.gather(found, parts))
    shards.say_how_long(arguments.out, found, parts)


if __name__ == "__main__":
    entry.run(main)
