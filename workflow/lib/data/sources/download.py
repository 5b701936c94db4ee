"""Archives from the network: fetched once, unpacked, and fetched once more where they prove damaged."""

from __future__ import annotations

import http.client
import logging
import os
import socket
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow.lib.errors import UserError, one_line

log = logging.getLogger(__name__)

_SECONDS_WITHOUT_AN_ANSWER = 60.0
# A truncated download, a bit gone wrong, or an error page that was saved as the archive.
_DAMAGED = (tarfile.TarError, EOFError, zlib.error)


def archive_of(url: str, folder: Path) -> Path:
    """Where the archive of `url` lies in `folder`."""
    return folder / url.rsplit("/", 1)[-1]


def obtain(url: str, folder: Path, instead: str) -> None:
    """Unpack the archive of `url` in `folder`, over what is there, downloading it unless it lies there already.

    A damaged archive is removed and fetched again, once. `instead` says how the user can do without a download.
    Raises `UserError` where it can't be obtained.
    """
    archive = archive_of(url, folder)
    had_it = archive.is_file()
    if not had_it:
        _download(url, archive, instead)
    try:
        _unpack(archive)
    except _DAMAGED as error:
        log.info("%s is damaged (%s): removed, fetching it again", archive, one_line(error))
        archive.unlink()
        _download(url, archive, instead)
        _unpack_again(archive, url, instead)


def _unpack_again(archive: Path, url: str, instead: str) -> None:
    try:
        _unpack(archive)
    except _DAMAGED as error:
        archive.unlink()
        raise UserError(f"{url} was damaged again on arrival ({one_line(error)}): {instead}") from error


def _unpack(archive: Path) -> None:
    log.info("unpacking %s", archive)
    with tarfile.open(archive, "r:*") as tar:
        tar.extractall(archive.parent, filter="data")  # refuses members that would land outside the folder


def _download(url: str, archive: Path, instead: str) -> None:
    """Download to a name that is not yet the archive's, so that an interrupted download is never taken for it."""
    from torchvision.datasets.utils import download_url

    part = archive.with_name(archive.name + ".part")
    part.unlink(missing_ok=True)  # torchvision takes what is there for the whole
    log.info("downloading %s", url)
    try:
        with _impatience():
            download_url(url, str(archive.parent), part.name)
        os.replace(part, archive)
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise UserError(f"could not download {url} ({one_line(error)}): {instead}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _impatience() -> Iterator[None]:
    """Give up on a server that says nothing: torchvision sets no timeout of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_WITHOUT_AN_ANSWER)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
