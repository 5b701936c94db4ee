"""Snakemake, started often: forked from a process that has imported it, which is most of what a start takes.

Of the project nothing is imported there: each start reads the code that its Snakefile stands in.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["snakemake.cli"])


def snakemake(arguments: Sequence[str], folder: Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """`python -m snakemake` with these arguments, in a folder. Raises TimeoutError."""
    with tempfile.NamedTemporaryFile("w+") as out, tempfile.NamedTemporaryFile("w+") as err:
        files = [out.name, err.name]
        process = _context.Process(target=_run, args=(list(arguments), str(folder), dict(os.environ), files))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"snakemake {' '.join(arguments)}: after {seconds} seconds it still runs")
        return subprocess.CompletedProcess(["snakemake", *arguments], process.exitcode, out.read(), err.read())


def _run(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    """Be Snakemake, with an output and a place of its own."""
    for standard, path in enumerate(files, 1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, standard)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    given = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    own = str(Path(__file__).parents[1])
    sys.path[:] = [folder, *given, *(path for path in sys.path if path not in ("", own, *given))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    from snakemake.cli import main

    sys.argv = [main.__module__, *arguments]
    main()
