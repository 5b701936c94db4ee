"""Cells that are not there, and why: what the last line of their logs says."""

from collections.abc import Sequence
from pathlib import Path


def reasons(paths: Sequence[Path], folder: Path) -> list[tuple[str, str]]:
    """Each missing cell's metrics file below results/<study>/, with the reason."""
    return [(str(path), _why(path, folder)) for path in paths]


def _why(path: Path, folder: Path) -> str:
    log = folder / "logs" / path.relative_to(folder / "metrics").with_suffix(".log")
    if not log.is_file():
        return "not started"
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    last = text.rsplit("\n", 1)[-1]
    return last if last.startswith("error: ") else f"not finished, see {log}"
