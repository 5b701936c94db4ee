"""`nano`: a small CLIP, trained from scratch on drawings of planes and digits that no study uses.

The loss is CLIP's symmetric cross-entropy (Radford et al. 2021, figure 3). Captions with the same name share the
target of their rows, since a batch holds the same name many times and each of them is a right answer.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from workflow.lib.drawn import planes
from workflow.lib.nano.captions import PLANES, SUBJECTS, Captions
from workflow.lib.nano.drawings import TRAINING_STREAM, draw_all

LOGIT_SCALE_MAX = math.log(100)


@dataclass(frozen=True)
class Recipe:
    """How nano is trained. `planes` and `digits` are drawings per class in the pool, the rest is per step."""

    steps: int = 4000
    planes: int = 500
    digits: int = 2000
    batch: int = 128
    digit_share: float = 0.12
    lr: float = 1.5e-3
    weight_decay: float = 0.1
    warmup: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Pool:
    """The drawings, rendered once: images uint8 (N, 3, 64, 64) and subjects int64 (N,), planes first."""

    images: Tensor
    subjects: Tensor

    @property
    def planes(self) -> int:
        """The number of drawings of planes."""
        return int((self.subjects < PLANES).sum())


def render_pool(recipe: Recipe, workers: int = 2) -> Pool:
    """Draws the pool of a recipe, in `workers` processes; the result doesn't depend on their number."""
    counts = [recipe.planes if subject < PLANES else recipe.digits for subject in range(SUBJECTS)]
    images = torch.empty((sum(counts), 3, planes.SIZE, planes.SIZE), dtype=torch.uint8)
    start = 0
    for drawn in draw_all(counts, workers):
        images[start : start + len(drawn)] = torch.from_numpy(drawn).permute(0, 3, 1, 2)
        start += len(drawn)
    return Pool(images, torch.repeat_interleave(torch.arange(SUBJECTS), torch.tensor(counts)))


def load_or_render_pool(recipe: Recipe, workers: int, path: Path | None) -> Pool:
    """The pool kept in a file, or, if there is none, a new one, which is then kept there."""
    if path is not None and path.exists():
        kept = load_file(path)
        return Pool(kept["images"], kept["subjects"])
    pool = render_pool(recipe, workers)
    if path is not None:
        save_file({"images": pool.images, "subjects": pool.subjects}, path)
    return pool


def new_model(config: Path, seed: int) -> open_clip.CLIP:
    """A model with fresh weights after an open_clip config file."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(**json.loads(config.read_text(encoding="utf-8")))
    # Convolutions with few channels are half as slow again in torch's default layout on a CPU.
    model.visual.to(memory_format=torch.channels_last)
    return model


def augment(images: Tensor, planar: Tensor, generator: torch.Generator) -> Tensor:
    """A batch uint8 (B, 3, 64, 64), shifted, dimmed, mirrored where `planar` (B,) allows it; float, normalised."""
    x = images.float() / 255
    size, count = x.shape[-1], len(x)
    x = functional.pad(x, (3, 3, 3, 3), mode="replicate")
    dy, dx = (int(torch.randint(0, 7, (), generator=generator)) for _ in range(2))
    x = x[..., dy : dy + size, dx : dx + size]
    mirrored = planar & (torch.rand(count, generator=generator) < 0.5)
    x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    gain = 0.85 + 0.3 * torch.rand(count, 1, 1, 1, generator=generator)
    x = (x * gain + 0.1 * (torch.rand(count, 3, 1, 1, generator=generator) - 0.5)).clamp(0, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    return (x - mean) / std


def contrastive_loss(logits: Tensor, names: Tensor) -> Tensor:
    """CLIP's symmetric loss of logits (B, B), where captions with equal `names` (B,) are equally right."""
    target = (names[:, None] == names[None, :]).float()
    target = target / target.sum(dim=1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


class Trainer:
    """Trains a model step by step; `state_dict` holds all that the next step depends on."""

    def __init__(self, model: open_clip.CLIP, pool: Pool, recipe: Recipe) -> None:
        """Takes the model (trained in place), the pool and the recipe."""
        self.model, self.pool, self.recipe, self.step = model, pool, recipe, 0
        self.captions = Captions.build()
        self.tokens = open_clip.SimpleTokenizer(context_length=model.context_length)(list(self.captions.texts))
        decayed = [p for p in model.parameters() if p.ndim >= 2]
        plain = [p for p in model.parameters() if p.ndim < 2]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)

    def run(self) -> Iterator[float]:
        """Trains to the recipe's last step and yields the loss of each."""
        while self.step < self.recipe.steps:
            yield self._train_step()

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers only, so that `torch.load(weights_only=True)` reads them."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def _train_step(self) -> float:
        images, tokens, names = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.model.train()
        image_x = self.model.encode_image(images, normalize=True)
        text_x = self.model.encode_text(tokens, normalize=True)
        loss = contrastive_loss(self.model.logit_scale.exp() * image_x @ text_x.T, names)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, LOGIT_SCALE_MAX)
        self.step += 1
        return loss.item()

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images, tokens and names: they depend on the seed and the step alone, so that a resumed run agrees."""
        rng = np.random.Generator(np.random.PCG64((TRAINING_STREAM, self.recipe.seed, 1, self.step)))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        digits = round(self.recipe.batch * self.recipe.digit_share)
        first, last = self.pool.planes, len(self.pool.subjects)
        plane_rows = rng.integers(0, first, self.recipe.batch - digits)
        rows = np.concatenate([plane_rows, rng.integers(first, last, digits)])
        subjects = self.pool.subjects[rows]
        numbers, names = self.captions.draw(subjects.numpy(), rng)
        images = augment(self.pool.images[rows], subjects < PLANES, generator)
        return images, self.tokens[numbers], torch.from_numpy(names)

    def _learning_rate(self) -> float:
        """Linear warm-up, then half a cosine to zero."""
        recipe = self.recipe
        if self.step < recipe.warmup:
            return recipe.lr * (self.step + 1) / recipe.warmup
        done = (self.step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * done))


def save_weights(model: open_clip.CLIP, tokens: Tensor, path: Path) -> None:
    """Writes float16 weights for open_clip, atomically; tokens that no caption holds get rows of zeros."""
    state = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    table = torch.zeros_like(state["token_embedding.weight"])
    seen = torch.unique(tokens)
    table[seen] = state["token_embedding.weight"][seen]
    state["token_embedding.weight"] = table
    temporary = path.with_suffix(".tmp")
    save_file(state, temporary, metadata={"format": "pt"})
    temporary.chmod(0o644)  # safetensors makes files that only their owner can read
    os.replace(temporary, path)
