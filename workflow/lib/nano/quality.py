"""What `nano` can do on the study's images: zero-shot accuracy, and a logistic regression on planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torchvision.transforms import Compose

from workflow.lib.data.sources import digits as digits_source
from workflow.lib.data.sources import planes as planes_source
from workflow.lib.drawn import numerals, planes

PLANE_NAMES = tuple(v.name for v in planes.VARIANTS)


@dataclass(frozen=True)
class Loaded:
    """A model as open_clip loads it, with its preprocessing and tokenizer."""

    model: open_clip.CLIP
    preprocess: Compose
    tokenizer: open_clip.SimpleTokenizer


@dataclass(frozen=True)
class LabelledImages:
    """Preprocessed images (N, 3, 64, 64) with labels (N,)."""

    images: Tensor
    labels: NDArray[np.int64]


def load(folder: Path) -> Loaded:
    """Loads `model.json` and `model.safetensors` of a folder in float32, exactly as a downloaded model."""
    open_clip.add_model_config(folder / "model.json")
    weights = str(folder / "model.safetensors")
    model, _, preprocess = open_clip.create_model_and_transforms("model", pretrained=weights)
    return Loaded(model.eval(), preprocess, open_clip.get_tokenizer("model"))


def planes_split(split: str, preprocess: Compose, per_class: int = planes.IMAGES_PER_CLASS) -> LabelledImages:
    """The first `per_class` images of each variant in a split of the study."""
    labels = np.repeat(np.arange(len(planes.VARIANTS)), per_class)
    pictures = (
        planes.image(label, split, number) for label in range(len(planes.VARIANTS)) for number in range(per_class)
    )
    return LabelledImages(_stack(pictures, preprocess), labels)


def digits_split(split: str, preprocess: Compose) -> LabelledImages:
    """Scikit-learn's digits in a split of the study."""
    cells, labels = load_digits(return_X_y=True)
    rows = digits_source.split_indices(labels)[split]
    grey = np.rint(cells[rows].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return LabelledImages(_stack((Image.fromarray(g).convert("RGB") for g in grey), preprocess), labels[rows])


def _stack(pictures: Iterable[Image.Image], preprocess: Compose) -> Tensor:
    return torch.stack([preprocess(picture) for picture in pictures])


@torch.no_grad()
def image_features(model: open_clip.CLIP, images: Tensor) -> Tensor:
    """Unit image embeddings (N, D)."""
    model.eval()
    return torch.cat([model.encode_image(chunk, normalize=True) for chunk in torch.split(images, 500)])


@torch.no_grad()
def text_features(
    model: open_clip.CLIP,
    tokenizer: open_clip.SimpleTokenizer,
    names: Sequence[str],
    templates: Sequence[str],
) -> Tensor:
    """Unit class embeddings (K, D): the mean over the templates of unit text embeddings."""
    model.eval()
    each = [model.encode_text(tokenizer([t.format(n) for n in names]), normalize=True) for t in templates]
    return torch.nn.functional.normalize(torch.stack(each).mean(dim=0), dim=-1)


def zero_shot(image_x: Tensor, text_x: Tensor, labels: NDArray[np.int64]) -> float:
    """Accuracy (a fraction) of the nearest class text."""
    return float(np.mean((image_x @ text_x.T).argmax(dim=1).numpy() == labels))


@dataclass(frozen=True)
class Monitor:
    """Zero-shot accuracy on one split of both datasets, for watching a model that is in training."""

    planes: LabelledImages
    digits: LabelledImages
    tokenizer: open_clip.SimpleTokenizer

    @classmethod
    def build(cls, split: str, preprocess: Compose, tokenizer: open_clip.SimpleTokenizer, per_class: int) -> Monitor:
        """Draws `per_class` planes of each variant and takes all digits of the split."""
        return cls(planes_split(split, preprocess, per_class), digits_split(split, preprocess), tokenizer)

    def measure(self, model: open_clip.CLIP) -> tuple[float, float]:
        """Accuracies on planes and on digits, as fractions."""
        plane_text = text_features(model, self.tokenizer, PLANE_NAMES, planes_source.SOURCE.templates)
        digit_text = text_features(model, self.tokenizer, numerals.NAMES, digits_source.SOURCE.templates)
        return (
            zero_shot(image_features(model, self.planes.images), plane_text, self.planes.labels),
            zero_shot(image_features(model, self.digits.images), digit_text, self.digits.labels),
        )


def regression(model: open_clip.CLIP, train: LabelledImages, test: LabelledImages) -> float:
    """Test accuracy (a fraction) of scikit-learn's logistic regression on unit features."""
    fitted = LogisticRegression(max_iter=1000).fit(image_features(model, train.images).numpy(), train.labels)
    return float(fitted.score(image_features(model, test.images).numpy(), test.labels))


def report(folder: Path) -> dict[str, float]:
    """The numbers of the model card, as fractions, measured on the test splits with a folder's weights."""
    loaded = load(folder)
    monitor = Monitor.build("test", loaded.preprocess, loaded.tokenizer, planes.IMAGES_PER_CLASS)
    plane_accuracy, digit_accuracy = monitor.measure(loaded.model)
    train = planes_split("train", loaded.preprocess)
    return {
        "planes, zero-shot": plane_accuracy,
        "digits, zero-shot": digit_accuracy,
        "planes, logistic regression on all of train": regression(loaded.model, train, monitor.planes),
    }
