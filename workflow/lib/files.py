"""Files that are whole or not there: a reader never meets half a file, whatever interrupts the writer."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workflow.lib.errors import UserError
from workflow.lib.jobs import orphans

_FOR_EVERYONE = 0o666  # what open() asks for, before the umask


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, made `path` when the block ends well and removed when it does not.

    The folder is created. The temporary file lies in the same folder, since a rename is atomic only inside one
    file system, and keeps the suffix, since some writers (`numpy.savez`) choose by it. What a killed writer of the same
    file has left behind is removed. An `OSError` of the writing names `path`; the job of a Snakemake that has gone
    writes nothing and gets a `UserError`.
    """
    target = Path(path)
    with _naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        handle, temporary = _held_temporary(target)
    try:
        with _naming(target):
            yield temporary
            _flush(temporary)
            temporary.chmod(_FOR_EVERYONE & ~_umask())
            if orphans.is_orphan():
                raise UserError(f"{target}: {orphans.MESSAGE}")
            os.replace(temporary, target)
    finally:
        with suppress(OSError):  # on a file system that has just become read-only: the first error is the one to tell
            temporary.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Errors of the system name `target` where they name no file, or a temporary one that nobody has heard of."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and not Path(error.filename).name.startswith(_prefix(target))
        if error.errno is None or named:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def _held_temporary(target: Path) -> tuple[int, Path]:
    """A new temporary file for `target`, and the open file that holds its lock for as long as this process lives."""
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=_prefix(target), suffix=target.suffix)
        with suppress(OSError):  # a file system without locks: then nobody can take it for abandoned either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # another writer took it for abandoned before it was locked


def _remove_abandoned(target: Path) -> None:
    """Remove the temporary files of writers of `target` that were killed: the kernel has freed their locks."""
    for path in target.parent.glob(glob.escape(_prefix(target)) + "*"):
        with suppress(OSError), path.open("r+b") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _prefix(target: Path) -> str:
    return f".{target.name}.tmp-"


def obstacle(path: str | os.PathLike[str]) -> str:
    """Why the system would not let `path` be made, in its words; empty where it would."""
    folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    return os.strerror(errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES)


def _flush(path: Path) -> None:
    """Wait until the content of `path` is on the disk: a rename may reach it earlier and outlive a power cut."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    """The umask of this process, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as JSON with sorted keys: equal values give equal bytes. NaN raises `ValueError`."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file, checked for what Python's parser lets pass.

    Raises `UserError` that names the file where it is no JSON in UTF-8, a key stands twice in one object (the last
    would silently win), a number is NaN, infinite or too large for one, or the nesting is too deep to be meant.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{os.fspath(path)}: not JSON ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
