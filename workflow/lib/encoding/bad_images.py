"""Images that can't be read: all of them named at once, or left out, counted and listed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from workflow.lib.encoding.images import BadImageError, Reader, is_of_the_system
from workflow.lib.errors import UserError

log = logging.getLogger(__name__)

_AT_ONCE = 256
MOST = 20  # that are looked for: who has more of them has another problem
_REMEDY = "mend or remove them, or add `skip_bad_images: true` to the dataset's entry"


@contextmanager
def all_named(paths: Sequence[Path], reader: Reader, threads: int) -> Iterator[None]:
    """Where one of `paths` can't be read, look through those behind it, so that all are named in one run.

    Raises `UserError` in the place of `BadImageError`: the first image, and where there are others. Each is in the log.
    Where the machine failed and not the file, the rest would fail like it, and is left alone.
    """
    try:
        yield
    except BadImageError as error:
        if is_of_the_system(error.__cause__):
            raise
        bad = [error, *_others(error.path, paths, reader, threads)][:MOST]
        for each in bad:
            log.error("can't be read: %s", each)
        number = f"{len(bad)} or more" if len(bad) == MOST else str(len(bad))
        others = f"; {number} images are like this, each named in the log" if len(bad) > 1 else ""
        raise UserError(f"{error}{others}; {_REMEDY}") from error


def _others(first: Path, paths: Sequence[Path], reader: Reader, threads: int) -> list[BadImageError]:
    """The images behind `first` that can't be read, up to about `MOST`."""
    rest = list(dict.fromkeys(paths[paths.index(first) + 1 :]))
    log.info("an image can't be read: looking through the %d after it", len(rest))
    found: list[BadImageError] = []
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(rest), _AT_ONCE):
            tried = pool.map(partial(_problem, reader), rest[start : start + _AT_ONCE])
            found += [problem for problem in tried if problem is not None and problem.path != first]
            if len(found) >= MOST:
                break
    return found


def _problem(reader: Reader, path: Path) -> BadImageError | None:
    try:
        reader(path)
    except BadImageError as error:
        return error
    return None


def told(root: Path, reader: Reader) -> dict[str, str]:
    """What the reader left out, by its name below `root`, with the reason; and its other remarks, in the log."""
    for line in reader.depths():
        log.info("%s", line)
    if reader.left_out:
        log.warning("%d images can't be read and are left out:", len(reader.left_out))
    for path, reason in sorted(reader.left_out.items()):
        log.warning("left out: %s: %s", path, reason)
    return {path.relative_to(root).as_posix(): reason for path, reason in sorted(reader.left_out.items())}
