"""The folder of a shipped classifier: every file of it whole, the classifier last."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from workflow.lib import files
from workflow.lib.shipping import card, classifier, onnx_file
from workflow.lib.shipping.classifier import Classifier
from workflow.lib.shipping.names import CLASSIFIER, ONNX

NEEDED = ("torch", "torchvision", "open_clip_torch", "pillow", "numpy", "safetensors")  # by predict.py
_SCRIPT = Path(__file__).with_name("standalone.py")


def write(folder: Path, made: Classifier, onnx: str) -> None:
    """Write the folder. Raises `UserError` where ONNX is asked for and its package is missing: before anything is."""
    if ONNX[onnx]:
        head = onnx_file.build(made)
        onnx_file.write(folder / "head.onnx", head)
    if onnx == "model":
        from workflow.lib.shipping import onnx_model

        onnx_model.write(folder / "model.onnx", made)
    files.write_text(folder / "predict.py", _SCRIPT.read_text(encoding="utf-8"))
    files.write_text(folder / "requirements.txt", "".join(f"{name}=={_plain(version(name))}\n" for name in NEEDED))
    files.write_text(folder / "card.md", card.markdown(made, ONNX[onnx]))
    classifier.write(folder / CLASSIFIER, made)


def _plain(found: str) -> str:
    """A version without the mark of a build, `+cu130`, which an index need not have."""
    return found.partition("+")[0]
