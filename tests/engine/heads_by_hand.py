"""Heads and a training loop as one would write them without the engine: what the engine is held to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from methods import Replica, Support, Task, TrainedMethod
from workflow.lib.engine import training

K, D = 5, 12
Plain = nn.Module


def make_task(size: int = 43, seeds: int = 2, dim: int = D, dtype: type = np.float32, threads: int = 1) -> Task:
    """Random samples of K classes: `size` for each seed."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(K, dim))
    supports = {}
    for seed in range(seeds):
        y = rng.permutation(np.arange(size) % K)
        supports[seed] = Support((centres[y] + rng.normal(size=(size, dim))).astype(dtype), y.astype(np.int64))
    text = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    names = [f"class {k}" for k in range(K)]
    return Task(supports, names, "5", text=text.astype(dtype), logit_scale=20.0, threads=threads, engine=training)


class LinearProbeByHand(Plain):
    def __init__(self, layers: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        super().__init__()
        self.classifier = layers["classifier"]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x)


class AttentionByHand(Plain):
    def __init__(self, layers: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        super().__init__()
        self.image_norm, self.text_norm, self.classifier = (
            layers["image_norm"],
            layers["text_norm"],
            layers["classifier"],
        )
        self.text, self.ratio = torch.as_tensor(layers["text"]), params["ratio"]

    def forward(self, x: Tensor) -> Tensor:
        x, text = self.image_norm(x), self.text_norm(self.text)
        attended = functional.softmax(x @ text.T / np.sqrt(x.shape[1]), dim=1) @ text
        return self.classifier((1 - self.ratio) * x + self.ratio * attended)


class ClipAdapterByHand(Plain):
    def __init__(self, layers: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        super().__init__()
        self.norm, self.down, self.up = layers["norm"], layers["down"], layers["up"]
        self.text, self.ratio = torch.as_tensor(layers["text"]), params["ratio"]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        mixed = (1 - self.ratio) * x + self.ratio * torch.relu(self.up(torch.relu(self.down(x))))
        return functional.normalize(mixed, dim=1) @ self.text.T


Penalty = Callable[[Plain], Tensor]
Loss = Callable[[Plain, Tensor, Tensor], Tensor]


def adamw(module: Plain, eps: float = 1e-8) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.01, eps=eps)


def train_by_hand(
    module: Plain,
    data: Support,
    order: np.random.Generator,
    optimizer: torch.optim.Optimizer,
    epochs: int = 3,
    batch_size: int = 12,
    factor: Callable[[int], float] | None = None,
    penalty: Penalty | None = None,
    loss: Loss = lambda module, x, y: functional.cross_entropy(module(x), y),
    images: Callable[[int], Tensor] | None = None,
    after: Callable[[], None] = lambda: None,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    """Index batches, one replica, PyTorch's optimiser; `factor(step)` or `schedule` scale the learning rate. `images`
    gives those of an epoch, `after` is called behind every step.
    """
    schedule = schedule or torch.optim.lr_scheduler.LambdaLR(optimizer, factor or (lambda step: 1.0))
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    module.train()
    for epoch in range(epochs):
        x = images(epoch) if images else x
        for rows in index_batches(order.permutation(len(y)), batch_size):
            value = loss(module, x[rows], y[rows])
            if penalty is not None:
                value = value + penalty(module)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            after()
    module.eval()


def index_batches(order: np.ndarray, batch_size: int) -> Iterator[Tensor]:
    """The order in pieces; a last piece of one sample goes to the piece before it."""
    width = batch_size or len(order)
    pieces = [order[i : i + width] for i in range(0, len(order), width)]
    if len(pieces) > 1 and len(pieces[-1]) == 1:
        pieces[-2:] = [np.concatenate(pieces[-2:])]
    yield from (torch.from_numpy(piece) for piece in pieces)


def initial(method: TrainedMethod, task: Task, replica: Replica) -> Mapping[str, Any]:
    """The layers of one replica as the method makes them, from the replica's own seed."""
    torch.manual_seed(int(replica.rng("init").integers(2**63)))
    return method.head(nn, task, replica)


def learned(module: Plain) -> dict[str, Tensor]:
    """The state of a module without counters."""
    return {name: value for name, value in module.state_dict().items() if "num_batches" not in name}
