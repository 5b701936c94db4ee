"""What of a Python file counts for the hash of the code, and what it may import: remembered from start to start.

Snakemake is started often and takes some two hundred files apart each time, which takes a second, while hardly one of
them differs from what it was. What is found is kept by the content of the file, in the user's cache, so that it is
never out of date. Where nothing can be kept it is found again.
"""

import ast
import atexit
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from workflow.lib.jobs import user_cache

Wanted = tuple[str, str, int]  # module, name that is taken from it, dots before it
Parsed = tuple[str, tuple[Wanted, ...]]
MOST = 2000  # files that are kept: about a megabyte
_new: dict[str, Parsed] = {}


def parsed(content: bytes) -> Parsed:
    """A digest of the syntax tree, and what the file may import. What is no Python is taken as it is."""
    known, key = _known(), hashlib.sha256(content).hexdigest()
    if key not in known:
        if not _new:
            atexit.register(_save)
        known[key] = _new[key] = _taken_apart(content)
    return known[key]


def _taken_apart(content: bytes) -> Parsed:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return hashlib.sha256(b"no Python: " + content).hexdigest(), ()
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(_imports(tree))


def _imports(tree: ast.AST) -> Iterator[Wanted]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name, node.level) for alias in node.names)


@cache
def _known() -> dict[str, Parsed]:
    """What is kept, and what this process has found."""
    return _kept()


def _kept() -> dict[str, Parsed]:
    """What earlier processes have found; nothing where there is no file, or none that can be read."""
    with suppress(OSError, ValueError, TypeError, AttributeError, RuntimeError):
        kept = json.loads(_file().read_bytes())
        return {
            str(key): (str(digest), tuple((str(module), str(name), int(level)) for module, name, level in wanted))
            for key, (digest, wanted) in kept.items()
        }
    return {}


def _save() -> None:
    """Keep what this process has found, beside what others have kept meanwhile."""
    with suppress(OSError, RuntimeError):
        others = _kept()
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps({**(others if len(others) < MOST else {}), **_new}))
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


@cache
def _file() -> Path:
    """Another one for another Python, whose trees are others, and for another version of this module."""
    version = hashlib.sha256(sys.version.encode() + Path(__file__).read_bytes()).hexdigest()[:16]
    return user_cache.folder("syntax") / f"{version}.json"
