"""List the images of one split that stand in another one too, exactly or nearly: `duplicates FEATURES [--index INDEX]`.

Exact ones are found by the content of the files, near ones by the cosine of their features.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from workflow.lib import files
from workflow.lib.data import contents
from workflow.lib.data.index import read_index
from workflow.lib.errors import UserError
from workflow.lib.features import duplicates, store
from workflow.lib.features.duplicates import Report
from workflow.lib.jobs import entry, logs

log = logging.getLogger("workflow.scripts.duplicates")


def main() -> None:
    """Read, compare, print or write."""
    arguments = _arguments()
    logs.start()
    if not -1 <= (arguments.bound or 0) <= 1:
        raise UserError(f"--bound: found {arguments.bound}, allowed: a cosine, from -1 to 1")
    found = duplicates.find(store.read(arguments.features), _hashes(arguments), arguments.bound)
    if arguments.out is not None:
        files.write_json(arguments.out, found.to_json())
        log.info("%s", " ".join(summary(found)))
    else:
        print("\n".join([*listed(found), *summary(found)]))


def _hashes(arguments: argparse.Namespace) -> dict[str, str]:
    """The content of the images that may have a double, if they are there still."""
    if arguments.index is None:
        return {}
    try:
        return contents.doubles(read_index(arguments.index), arguments.index.parent, arguments.threads)
    except FileNotFoundError as error:
        log.info("%s is gone: exact duplicates are not looked for", error.filename)
        return {}


def listed(found: Report) -> list[str]:
    """Every pair: the two files and how near they are."""
    lines = []
    for shared in found.shared:
        for place, (first, second, cosine) in enumerate(shared.pairs):
            how = "exact" if place < shared.exact else f"cosine {cosine:.4f}"
            lines.append(f"{shared.splits[0]} {first}\t{shared.splits[1]} {second}\t{how}")
    return lines


def summary(found: Report) -> list[str]:
    """A line for every two splits."""
    lines = []
    for shared in found.shared:
        near = f"{shared.near} look like one there" if shared.near >= 0 else "too many to compare their features"
        first, second = shared.splits
        lines.append(f"{second}: {shared.exact} images are in {first} too, {near} (cosine {found.bound:.4f} or more).")
    return lines or ["There is one split, and nothing to compare it with."]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.duplicates", description=__doc__)
    parser.add_argument("features", type=Path, help="features file of the dataset")
    parser.add_argument("--index", type=Path, help="index of its images, for exact duplicates")
    parser.add_argument(
        "--bound", type=float, help="cosine from which on images count as near (default: by the dataset)"
    )
    parser.add_argument("--out", type=Path, help="write JSON to this file, and print nothing")
    parser.add_argument("--threads", type=int, default=1, help="threads that read images (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    entry.run(main)
