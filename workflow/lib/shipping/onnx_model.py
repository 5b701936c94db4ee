"""A shipped classifier and the image tower before it as one ONNX model: from pixels to probabilities."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from workflow.lib import files
from workflow.lib.errors import UserError, one_line
from workflow.lib.shipping import predicting, standalone
from workflow.lib.shipping.classifier import Classifier, told_program

OPSET = 18


class Whole(nn.Module):
    """`pixels (N, 3, H, W)`, RGB from 0 to 1 and of the model's size, to `probabilities (N, K)`."""

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier, model: Any) -> None:
        super().__init__()
        self._program, self._temperature = told_program(classifier.program), classifier.about["temperature"]
        how = classifier.about["preprocessing"]
        self.model = model
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(how[name])[:, None, None])
        self._names = list(classifier.program.arrays)
        for number, array in enumerate(classifier.program.arrays.values()):
            self.register_buffer(f"array{number}", torch.from_numpy(array))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.model.encode_image((pixels - self.mean) / self.std).float()
        arrays = {name: getattr(self, f"array{number}") for number, name in enumerate(self._names)}
        return (standalone.run(self._program, arrays, x) / self._temperature).softmax(-1)


def write(path: str | os.PathLike[str], classifier: Classifier) -> None:
    """Write the model atomically, with its weights inside. Raises `UserError` where torch can't write it down."""
    backbone = predicting.load(classifier, "", "cpu")
    whole = Whole(classifier, backbone.model.float()).eval()
    size = classifier.about["preprocessing"]["size"]
    height, width = (size, size) if isinstance(size, int) else size
    example = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with files.atomic(path) as temporary:
        try:
            torch.onnx.export(
                whole,
                (example,),
                str(temporary),
                input_names=["pixels"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("N")},),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except ImportError as error:
            remedy = "allowed: `python -m pip install onnx onnxscript`, or `onnx: head`"
            raise UserError(f"ship: onnx: model: {one_line(error)}; {remedy}") from error
        except (RuntimeError, ValueError, TypeError) as error:
            text = one_line(error)[:200]
            raise UserError(f"ship: onnx: model: torch can't write it down ({text}); allowed: onnx: head") from error
