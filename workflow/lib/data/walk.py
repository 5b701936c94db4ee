"""Folders of images as people have them: which files are images, what is left out, and links that lead astray."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow.lib.errors import UserError

# Every suffix of a format that Pillow decodes, with its plugin for HEIC. Written out, since the Snakefile looks into
# folders too, and to import Pillow with its plugins takes longer than to look.
# fmt: off
SUFFIXES = frozenset(
    [
        ".apng", ".avif", ".avifs", ".blp", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".fit", ".fits", ".flc",
        ".fli", ".ftc", ".ftu", ".gbr", ".gif", ".heic", ".heics", ".heif", ".heifs", ".hif", ".icb", ".icns", ".ico",
        ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".msp", ".pbm",
        ".pcd", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb", ".rgba",
        ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
    ]
)
# fmt: on
# Registered with Pillow, but not decoded by it alone: text and vectors, containers of data, video.
NOT_DECODED = frozenset([".bufr", ".emf", ".eps", ".grib", ".h5", ".hdf", ".iim", ".mpeg", ".mpg", ".ps", ".wmf"])
# What systems, file managers and editors leave lying about, in lower case. So is everything that begins with a dot.
SYSTEM = frozenset(
    {"__macosx", "__pycache__", "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"}
    | {"system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)
LEFT_OUT_SYSTEM, LEFT_OUT_BARE = "system files", "no suffix"

Place = tuple[int, int]  # device and inode: what a folder is, whatever path leads to it


@dataclass(frozen=True)
class Tree:
    """What lies below a folder. Paths are relative to it, with forward slashes; its own is the empty text.

    `images` has every folder that holds images itself, with their names in order; `folders` every folder with what it
    is, whichever links lead there; `left_out` counts the other files by suffix, and what systems leave by that name.
    """

    home: Path
    images: dict[str, list[str]] = field(default_factory=dict)
    folders: dict[str, Place] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def count(self) -> int:
        """How many images there are."""
        return sum(map(len, self.images.values()))

    def files(self) -> Iterator[str]:
        """All images, in the order of their folders."""
        for folder in sorted(self.images):
            yield from (f"{folder}/{name}" if folder else name for name in self.images[folder])

    def below(self) -> list[str]:
        """The folders directly in this one, by name, in order."""
        return sorted(folder for folder in self.folders if folder and "/" not in folder)


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or of a name that only systems give."""
    return name[0] == "." or name.lower() in SYSTEM


def suffix(name: str) -> str:
    """The suffix of a file's name in lower case, or the words for none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else LEFT_OUT_BARE


def walk(home: Path) -> Tree:
    """All that lies below `home`, links followed. Needs no Pillow: a million files take seconds.

    Raises `UserError` for a link that leads to a folder that holds it, and for images that are links to nothing or no
    regular files; `OSError` for a folder that may not be read.
    """
    tree = Tree(home)
    above = frozenset(_place(parent) for parent in Path(os.path.realpath(home)).parents)
    pending = [("", above)]
    while pending:
        pending += _folder(tree, *pending.pop())
    return tree


def _place(path: str | Path) -> Place:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _folder(tree: Tree, folder: str, holders: frozenset[Place]) -> list[tuple[str, frozenset[Place]]]:
    """Note what lies in one folder; returns the folders in it, each with all that hold it."""
    path = tree.home / folder
    place = _place(path)
    if place in holders:
        raise UserError(
            f"{path}: a link to {os.path.realpath(path)}, which holds it: its images would be of this class too; "
            "remove the link"
        )
    tree.folders[folder] = place
    names, inside = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            name = entry.name
            if is_system(name):
                tree.left_out[LEFT_OUT_SYSTEM] += 1
            elif entry.is_dir():
                inside.append((f"{folder}/{name}" if folder else name, holders | {place}))
            elif (kind := suffix(name)) not in SUFFIXES:
                tree.left_out[kind] += 1
            else:
                if not entry.is_file():
                    raise _no_file(entry)
                names.append(name)
    if names:
        tree.images[folder] = sorted(names)
    return inside


def _no_file(entry: os.DirEntry[str]) -> UserError:
    """The error for the name of an image that leads to none."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return UserError(f"{entry.path}: a link to {os.readlink(entry.path)}, where nothing is; mend or remove it")
    return UserError(f"{entry.path}: a pipe or device, where an image is wanted; remove it")


def summary(left_out: Mapping[str, int]) -> str:
    """`3 .txt, 1 system files`: what was left out, the most first."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {what}" for what, number in ordered)


def some(names: Sequence[str], most: int = 3) -> str:
    """`a, b, c, …`: the first of some names."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
