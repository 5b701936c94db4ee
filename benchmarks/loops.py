"""The training loops that people write: one head at a time, torchmetrics updated at every batch."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from methods import Support

IMAGES, QUERIES, CLASSES, BATCH = 3334, 3333, 100, 32
RATIO, REDUCTION, SCALE = 0.4, 4, 100.0


class Shape(NamedTuple):
    """A method and the size of its features."""

    method: str
    dim: int


def samples(seed: int, size: int, dim: int) -> Support:
    """Random features and labels: speed doesn't depend on what they are."""
    rng = np.random.default_rng(seed)
    return Support(rng.normal(size=(size, dim)).astype(np.float32), rng.integers(CLASSES, size=size))


def class_text(dim: int) -> np.ndarray:
    """Random class texts of length 1."""
    text = np.random.default_rng(1).normal(size=(CLASSES, dim)).astype(np.float32)
    return text / np.linalg.norm(text, axis=1, keepdims=True)


class LinearProbe(nn.Sequential):
    """BatchNorm and a linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.BatchNorm1d(dim), nn.Linear(dim, CLASSES))


class ClipAdapter(nn.Module):
    """A bottleneck, mixed back in, and the cosine to the class texts."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm, self.text = nn.BatchNorm1d(dim), torch.from_numpy(class_text(dim))
        self.down, self.up = nn.Linear(dim, dim // REDUCTION, False), nn.Linear(dim // REDUCTION, dim, False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        mixed = (1 - RATIO) * x + RATIO * self.up(self.down(x).relu()).relu()
        return SCALE * functional.normalize(mixed, dim=-1) @ self.text.T


class AttentionProbe(nn.Module):
    """A linear layer on the embedding mixed with the class texts that it attends to, all behind BatchNorms."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.image_norm, self.text_norm = nn.BatchNorm1d(dim), nn.BatchNorm1d(dim)
        self.classifier, self.text = LinearProbe(dim), torch.from_numpy(class_text(dim))

    def forward(self, x: Tensor) -> Tensor:
        x, text = self.image_norm(x), self.text_norm(self.text)
        attended = (x @ text.T / x.shape[-1] ** 0.5).softmax(-1) @ text
        return self.classifier((1 - RATIO) * x + RATIO * attended)


MODELS: dict[str, Callable[[int], nn.Module]] = {
    "linear_probe": LinearProbe,
    "clip_adapter": ClipAdapter,
    "attention_probe": AttentionProbe,
}


class LoopByHand:
    """One replica, with a DataLoader of so many workers or on tensors in memory."""

    def __init__(self, shape: Shape, workers: int | None) -> None:
        self.metric = torchmetrics.classification.MulticlassAccuracy(CLASSES, average="micro")
        self.model = MODELS[shape.method](shape.dim)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        parts = (samples(0, IMAGES, shape.dim), True), (samples(0, QUERIES, shape.dim), False)
        self.train, self.test = (_batches(data, shuffle, workers) for data, shuffle in parts)

    def epoch(self) -> None:
        """Train on every image, then score every query."""
        self.model.train()
        for x, y in self.train():
            logits = self.model(x)
            loss = functional.cross_entropy(logits, y)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
            self.optimizer.step()
            self.metric.update(logits, y)
        self.model.eval()
        with torch.no_grad():
            for x, y in self.test():
                self.metric.update(self.model(x), y)
        self.metric.compute()
        self.metric.reset()


def _batches(data: Support, shuffle: bool, workers: int | None) -> Callable[[], Iterator[Any]]:
    """What begins another epoch."""
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    if workers is not None:
        loader = DataLoader(TensorDataset(x, y), BATCH, shuffle=shuffle, num_workers=workers)
        return lambda: iter(loader)

    def batches() -> Iterator[Any]:
        order = torch.randperm(len(y)) if shuffle else torch.arange(len(y))
        for rows in torch.split(order, BATCH):
            yield [x[rows], y[rows]]

    return batches
