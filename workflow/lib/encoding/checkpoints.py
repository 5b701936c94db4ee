"""Files of weights as people have them: TorchScript made loadable, and what is wrong with a file in one line."""

from __future__ import annotations

import logging
import pickle
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file

from workflow.lib.encoding import torchscript
from workflow.lib.errors import one_line

log = logging.getLogger(__name__)

_LONGEST_REASON = 300  # torch lists every key that does not fit; the first few tell
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # torch sets parts of its messages in bold
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # what the file would have had unpickled
_STRETCHED = "Resizing "  # how open_clip's lines on position embeddings begin


@contextmanager
def loadable(file: Path | None) -> Iterator[Path | None]:
    """The file as open_clip can load it: the tensors of a TorchScript archive are put into a file of their own."""
    if file is None or not torchscript.is_archive(file):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        log.info("%s is TorchScript: its tensors are read, its code is not run", file)
        save_file(torchscript.tensors(file), tensors := Path(folder) / "tensors.safetensors")
        yield tensors


@contextmanager
def stretching_is_told() -> Iterator[None]:
    """Say so where open_clip fits position embeddings to another size: it does it at a level that nobody reads."""
    root = logging.getLogger()
    level = root.level
    root.addFilter(_tell)
    root.setLevel(min(level, logging.INFO))
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeFilter(_tell)


def _tell(record: logging.LogRecord) -> bool:
    """Our line for open_clip's on stretching, and none for what it says beside; what is wrong passes."""
    text = record.getMessage()
    if record.levelno == logging.INFO and text.startswith(_STRETCHED):
        log.warning("the weights are for another size: %s", text[0].lower() + text[1:])
    return record.levelno >= logging.WARNING


def complaint(name: str, file: Path | None, error: Exception) -> str:
    """Why the weights of model `name` can't be read from `file`, and what to do about it."""
    what = _COLOURS.sub("", str(error))
    if "loading state_dict" in what:
        return f"weights: {file or name} do not fit model {name}: {reason(error)}"
    if isinstance(error, pickle.UnpicklingError) and (found := _GLOBAL.search(what)):
        return f"weights: {file or name} hold more than tensors ({found[1]}), and are never unpickled; {_remedy(file)}"
    if isinstance(error, pickle.UnpicklingError):
        return f"weights: {file or name} hold more than tensors, or are cut short; never unpickled: {reason(error)}"
    return f"weights: {file or name} can't be loaded into model {name}: {type(error).__name__}: {reason(error)}"


def _remedy(file: Path | None) -> str:
    """The command that keeps the tensors alone. It runs what the file says, so use it only on files that you trust."""
    load = f"c = torch.load({str(file or 'FILE')!r}, weights_only=False)"
    program = f"import torch; {load}; torch.save(c.get('state_dict', c), 'tensors.pt')"
    quoted = shlex.quote(program) if set('"$`!\\') & set(program) else f'"{program}"'
    return f"if you trust their maker, keep the tensors: python -c {quoted}"


def reason(error: Exception) -> str:
    """What an error says, in one line, cut where it is long, without the codes that make a terminal set it in bold."""
    text = one_line(_COLOURS.sub("", str(error)))
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + " ..."
