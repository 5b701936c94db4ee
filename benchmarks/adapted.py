"""A step of CLIP-LoRA and of 2SFS through both towers of ViT-B-32, against the plain way, in one run on one thread.

100 class names of aircraft, "a photo of a …", batches of 32 images, random weights. The plain way is what one writes
after the papers: all 77 tokens of every prompt through the model's own blocks, whose attention is exchanged for one
with low-rank products, or whose LayerNorms are trained. In the second stage of 2SFS it takes the images through the
frozen tower, where ours has their embeddings. A round measures each in turn; medians are printed, by the clock and of
the processor's own time. At the end stands what three seeds take side by side and one after the other: see `seeds`.
"""

import argparse
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from benchmarks.seeds import NAMES, SCALE, Seconds, cost, loaded, problem, report_seeds, stepping
from methods.clip_lora import LowRankAdaptation
from methods.contract.adapted import AdaptedMethod
from methods.two_stage import TwoStage

BATCH, SIDE, FIRST = 32, 224, 0.6
PROMPTS = [f"a photo of a {name}." for name in NAMES]


class LowRank(nn.Module):
    """Attention as the model's, whose queries, keys and values have a low-rank product each."""

    def __init__(self, inner: nn.MultiheadAttention, rank: int = 2) -> None:
        super().__init__()
        width = inner.embed_dim
        self.inner, self.drop = inner, nn.Dropout(0.25)
        self.down = nn.Parameter(torch.rand(3, rank, width) / width**0.5)
        self.up = nn.Parameter(torch.zeros(3, width, rank))

    def forward(self, x: Tensor, *_: Any, attn_mask: Tensor | None = None, need_weights: bool = False) -> tuple[Tensor]:
        inner, parts = self.inner, []
        frozen = linear(x, inner.in_proj_weight, inner.in_proj_bias).chunk(3, -1)
        for given, down, up in zip(frozen, self.down, self.up, strict=True):
            one = given + 0.5**0.5 * linear(linear(self.drop(x), down), up)
            parts.append(one.unflatten(-1, (inner.num_heads, -1)).transpose(1, 2))
        q, k, v = parts
        seen = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return (inner.out_proj(seen.transpose(1, 2).flatten(2)),)


class Plain:
    """The whole model, of which low-rank products or LayerNorms are trained."""

    def __init__(self, backbone: Any, low_rank: bool) -> None:
        self._model, rng = backbone.model, np.random.default_rng(0)
        if low_rank:
            for tower in (self._model, self._model.visual):
                for block in tower.transformer.resblocks:
                    block.attn = LowRank(block.attn)
        for part in self._model.modules():
            if not low_rank and isinstance(part, nn.LayerNorm):
                part.requires_grad_(True)
        self._model.train()
        self._images = torch.randn(BATCH, 3, SIDE, SIDE)
        self._labels = torch.from_numpy(rng.integers(len(NAMES), size=BATCH))
        self._tokens = backbone.tokenizer(PROMPTS)
        self._weight = torch.randn(len(NAMES), 512, requires_grad=True)
        learned = [part for part in self._model.parameters() if part.requires_grad]
        self._first, self._second = (torch.optim.AdamW(own, lr=2e-4) for own in (learned, [self._weight]))

    def step(self) -> None:
        """Through both towers."""
        images, texts = self._model.encode_image(self._images), self._model.encode_text(self._tokens)
        self._learn(self._first, images, texts)

    def second(self) -> None:
        """Of the second stage: the images through the frozen tower."""
        with torch.no_grad():
            images = self._model.encode_image(self._images)
        self._learn(self._second, images, self._weight)

    def _learn(self, optimizer: Any, images: Tensor, texts: Tensor) -> None:
        loss = cross_entropy(SCALE * normalize(images, dim=-1) @ normalize(texts, dim=-1).T, self._labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()


def measure(method: type[AdaptedMethod], rounds: int, seeds: int) -> Iterator[dict[str, Seconds]]:
    """Seconds per step, round after round."""
    task, several = (problem(method, loaded(), count, len(NAMES), BATCH) for count in (1, seeds))
    plain = Plain(loaded(), method is LowRankAdaptation)
    ways = {"plain": plain.step, "ours": stepping(method, task)}
    ways |= {f"ours, {seeds} seeds side by side": stepping(method, several)} if seeds > 1 else {}
    ways |= {"plain, second stage": plain.second} if method is TwoStage else {}
    for _ in range(rounds):
        yield {name: cost(way) for name, way in ways.items()}


def report(method: type[AdaptedMethod], found: list[dict[str, Seconds]]) -> Iterator[str]:
    """Medians of the times, and of what a plain training takes against ours."""
    yield f"{method.name + ', seconds a step':44}{'by the clock':>14}{'of a core':>14}"
    for name in found[0]:
        clock, own = (median(one[name][i] for one in found) for i in range(2))
        yield f"{name:44}{clock:14.2f}{own:14.2f}"
    for name in [name for name in found[0] if name.startswith("ours")]:
        times = int(name.split()[1]) if " " in name else 1
        clock, own = (median(times * whole(one, i) / part(one, name, i) for one in found) for i in range(2))
        yield f"{name + ' against plain':44}{clock:13.1f}x{own:13.1f}x"


def whole(one: dict[str, Seconds], i: int) -> float:
    """What a step of a plain training takes on average: of 2SFS 60 % of them go through both towers."""
    second = one.get("plain, second stage")
    return one["plain"][i] if second is None else FIRST * one["plain"][i] + (1 - FIRST) * second[i]


def part(one: dict[str, Seconds], name: str, i: int) -> float:
    """Likewise of ours, whose second stage takes no time to speak of."""
    return one[name][i] * (FIRST if "plain, second stage" in one else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="side by side")
    parser.add_argument("--method", choices=[LowRankAdaptation.name, TwoStage.name], action="append")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for method in (LowRankAdaptation, TwoStage):
        if not arguments.method or method.name in arguments.method:
            found = list(measure(method, arguments.rounds, arguments.seeds)) if arguments.rounds else []
            for line in [*(report(method, found) if found else ()), *report_seeds(method)]:
                print(line, flush=True)


if __name__ == "__main__":
    main()
