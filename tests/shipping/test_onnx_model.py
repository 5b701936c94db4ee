"""A classifier with its image tower before it, from pixels: what is written down as ONNX."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from tests.shipping.conftest import Shipped
from workflow.lib.shipping import predicting
from workflow.lib.shipping.onnx_model import Whole, write


@pytest.fixture(scope="module")
def whole(shipped: Shipped) -> Whole:
    backbone = predicting.load(shipped.classifier, "", "cpu")
    return Whole(shipped.classifier, backbone.model.float()).eval()


def test_from_pixels_between_0_and_1_it_gives_the_probabilities_of_the_features(shipped: Shipped, whole: Whole) -> None:
    how = shipped.classifier.about["preprocessing"]
    assert max(how["std"]) < 1  # which says something only where images are scaled
    assert shipped.classifier.about["temperature"] != 1
    backbone = predicting.load(shipped.classifier, "", "cpu")
    scaled = torch.stack(
        [
            backbone.preprocess(Image.open(shipped.photos / name).convert("RGB"))
            for name in shipped.features.files["test"]
        ]
    )
    mean, std = (torch.tensor(how[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        found = whole(scaled * std + mean)
    expected = shipped.classifier.probabilities(shipped.features.splits["test"].x[:])
    assert np.abs(found.numpy() - expected).max() < 1e-4


@pytest.mark.slow
def test_what_is_written_down_gives_the_same_for_any_number_of_images(
    shipped: Shipped, whole: Whole, tmp_path: Path
) -> None:
    write(tmp_path / "model.onnx", shipped.classifier)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    size = shipped.classifier.about["preprocessing"]["size"]
    pixels = torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = whole(pixels).numpy()
    (found,) = session.run(["probabilities"], {"pixels": pixels.numpy()})
    assert np.abs(found - expected).max() < 1e-4
