"""What lies in images that are the user's own: noticed when it changes, by sizes and times, and held to by hashes.

Beside an index lies `contents.jsonl`, from the job that made it: for every image its size, the time of its last change
and the SHA-256 of its bytes. Whoever reads the study looks at sizes and times again, seconds for a million files. Where
they are the same, nothing has changed. Where times alone are others, as in a folder that was copied, the bytes decide.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workflow.lib import files
from workflow.lib.data.index import Index

NAME = "contents.jsonl"
_STEP = 1000  # images that are asked for together
_SLOW = 50e-6  # seconds for one: a file server, whose answers are waited for side by side; a disk takes a tenth
_THREADS = 16

Stat = tuple[int, int]  # size in bytes, time of the last change in ns


@dataclass(frozen=True)
class State:
    """The images of an index, each once, with its size and time, and one hash for all of these."""

    root: Path
    stats: Mapping[str, Stat]

    def digest(self) -> str:
        """16 hexadecimal digits."""
        lines = "".join([f"{file}\0{size}\0{changed}\n" for file, (size, changed) in self.stats.items()])
        return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()[:16]


def state(index: Index) -> State:
    """How the images of `index` lie there now. Raises `OSError` for one that does not."""
    listed = sorted({file for entries in index.splits.values() for file, _ in entries})
    root = f"{index.root}{os.sep}"

    def look(start: int) -> list[tuple[str, Stat]]:
        found = ((file, os.stat(root + file)) for file in listed[start : start + _STEP])
        return [(file, (one.st_size, one.st_mtime_ns)) for file, one in found]

    began = time.perf_counter()
    first = look(0)
    slow = time.perf_counter() - began > _SLOW * len(first)
    rest = range(_STEP, len(listed), _STEP)
    with ThreadPoolExecutor(_THREADS if slow else 1) as pool:
        return State(index.root, dict(pair for pairs in (first, *pool.map(look, rest)) for pair in pairs))


def token(folder: Path, seen: Index) -> str:
    """What stands for the images that a look has `seen` in the parameters of jobs.

    Another one when, and only when, an image is another, or its class, its split or a class's name. `folder` holds what
    was noted of the images. A copy of the same ones keeps the token, and its times are noted.
    """
    return _of_images(folder, state(seen)) + seen.fingerprint()


def known_token(folder: Path) -> str:
    """The token of the images that the index was made of, without a look at them; empty where none is noted."""
    head = _read_head(folder)
    return head["images"] + head["seen"] if head else ""


def note(folder: Path, now: State, threads: int, seen: str = "") -> Mapping[str, str]:
    """The SHA-256 of every image, noted in `folder`. What was noted before and has kept size and time isn't read.

    `seen` is the fingerprint of the index by a look, a part of the token.
    """
    before, images = _read(folder), _of_images(folder, now)
    known = {file: sha for file, (stat, sha) in before.items() if now.stats.get(file) == stat}
    hashes = known | _hashed(now.root, [file for file in now.stats if file not in known], threads)
    _write(folder, now, hashes, {"images": images, "seen": seen})
    return hashes


def _of_images(folder: Path, now: State) -> str:
    """The part of the token that stands for the images' bytes."""
    noted = _read_head(folder)
    digest = now.digest()
    if noted.get("state") == digest:
        return noted["images"]
    if noted and (hashes := _unchanged(folder, now)):
        with suppress(OSError):  # a folder that may not be written: then the bytes are read again the next time
            _write(folder, now, hashes, noted)
        return noted["images"]
    return digest


def doubles(index: Index, folder: Path, threads: int) -> dict[str, str]:
    """The SHA-256 of every image that may have a double: those noted in `folder`, others where two are of one size.

    Nothing is noted. Raises `OSError` for an image that is gone.
    """
    now = state(index)
    noted = {file: sha for file, (stat, sha) in _read(folder).items() if now.stats.get(file) == stat}
    sizes = Counter(size for size, _ in now.stats.values())
    wanted = [file for file, (size, _) in now.stats.items() if sizes[size] > 1 and file not in noted]
    return noted | _hashed(now.root, wanted, threads)


def overall(index: Index, hashes: Mapping[str, str]) -> str:
    """One hash for the bytes of all images, in the order of the index."""
    lines = "".join(f"{hashes[file]}\n" for entries in index.splits.values() for file, _ in entries)
    return hashlib.sha256(lines.encode()).hexdigest()


def _hashed(root: Path, names: Sequence[str], threads: int) -> dict[str, str]:
    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(names, pool.map(lambda name: files.sha256(root / name), names), strict=True))


def _unchanged(folder: Path, now: State) -> dict[str, str]:
    """The hashes of the images, if all of them are those that were noted, whatever their times; empty if not."""
    before = _read(folder)
    if before.keys() != now.stats.keys() or any(before[file][0][0] != size for file, (size, _) in now.stats.items()):
        return {}
    for file, stat in now.stats.items():
        if before[file][0] != stat and files.sha256(now.root / file) != before[file][1]:
            return {}
    return {file: sha for file, (_, sha) in before.items()}


def _read_head(folder: Path) -> dict[str, str]:
    """The first line of the notes: the `state`, and the parts of the token; empty where there is none to trust."""
    try:
        with open(folder / NAME, encoding="utf-8") as file:
            head = json.loads(file.readline())
        return {key: str(head[key]) for key in ("state", "images", "seen")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _read(folder: Path) -> dict[str, tuple[Stat, str]]:
    """The notes, by image; empty where there are none, or they are damaged: then everything is read again."""
    try:
        with open(folder / NAME, encoding="utf-8") as file:
            next(file)
            return {name: ((size, changed), sha) for name, size, changed, sha in map(json.loads, file)}
    except (OSError, ValueError, TypeError, StopIteration):
        return {}


def _write(folder: Path, now: State, hashes: Mapping[str, str], head: Mapping[str, str]) -> None:
    lines: Iterable[str] = (json.dumps([file, *stat, hashes[file]]) for file, stat in now.stats.items())
    first = json.dumps({**head, "state": now.digest()})
    files.write_text(folder / NAME, "\n".join([first, *lines]) + "\n")
