"""A step of CoOp through ViT-B-32's text tower, against the plain way, in one run on one thread.

100 class names of aircraft, 16 context vectors, batches of 32 cached image features. Random weights: speed
doesn't depend on what they are. The plain way is what one writes after the paper: all 77 tokens of every prompt through
the model's own transformer, one training after the other. A round measures each in turn, and medians over rounds are
printed: by the clock, and of the processor's own time, which says the same on a machine that is busy with other work.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from open_clip import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from methods import Replica, Support, Task, unit
from methods.coop import ContextOptimization
from workflow.lib.drawn.fleet import VARIANTS
from workflow.lib.engine import training
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

NAMES = [variant.name for variant in VARIANTS]
DIM, BATCH, CONTEXT, SCALE, SEEDS = 512, 32, 16, 100.0, 3
Seconds = tuple[float, float]  # by the clock, of the processor


def problem(tower: TextTransformer) -> Task:
    """One batch of random images for each seed."""
    rng = np.random.default_rng(0)
    supports = {
        seed: Support(unit(rng.normal(size=(BATCH, DIM))).astype(np.float32), rng.integers(len(NAMES), size=BATCH))
        for seed in range(SEEDS)
    }
    encoder = Encoder(Tower(tower), SimpleTokenizer(), NAMES, ["{}"])
    return Task(supports, NAMES, "1", None, SCALE, engine=training, encoder=encoder)


class Ours:
    """The engine's steps, of so many seeds side by side."""

    def __init__(self, task: Task, seeds: int) -> None:
        params = ContextOptimization.defaults({}) | {"epochs": 10**6}
        who = [Replica("-", params, seed) for seed in range(seeds)]
        self._run = training.Run(ContextOptimization(), task, who)

    def step(self) -> None:
        self._run.advance(1)


class Plain:
    """CoOp as one writes it: the contexts are put between the embeddings of whole prompts."""

    def __init__(self, task: Task, tower: TextTransformer) -> None:
        support = task.supports[0]
        self._x, self._y = torch.from_numpy(support.x), torch.from_numpy(support.y)
        self._tower = tower
        self._tokens = SimpleTokenizer()([f"{'X ' * CONTEXT}{name}." for name in NAMES])
        with torch.no_grad():
            self._words = tower.token_embedding(self._tokens)
        self._context = (torch.randn(CONTEXT, tower.width) * 0.02).requires_grad_(True)
        self._optimizer = torch.optim.SGD([self._context], lr=2e-3, momentum=0.9, weight_decay=5e-4)

    def _texts(self) -> Tensor:
        learned = self._context.expand(len(NAMES), -1, -1)
        words = torch.cat([self._words[:, :1], learned, self._words[:, 1 + CONTEXT :]], 1)
        x = self._tower.transformer(words + self._tower.positional_embedding, attn_mask=self._tower.attn_mask)
        x = self._tower.ln_final(x)[torch.arange(len(x)), self._tokens.argmax(1)]
        return x @ self._tower.text_projection

    def step(self) -> None:
        loss = cross_entropy(SCALE * self._x @ normalize(self._texts(), dim=-1).T, self._y)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        self._optimizer.step()


def cost(step: Callable[[], None]) -> Seconds:
    """What one call takes."""
    clock, own = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - clock, time.process_time() - own


def measure(rounds: int) -> Iterator[dict[str, Seconds]]:
    """Seconds per step, round after round; the first one, which warms up, is left out."""
    torch.manual_seed(0)
    tower = TextTransformer(width=DIM, heads=8, layers=12, output_dim=DIM).eval().requires_grad_(False)
    task = problem(tower)
    ways: dict[str, Any] = {
        "plain": Plain(task, tower),
        "ours": Ours(task, 1),
        f"ours, {SEEDS} seeds side by side": Ours(task, SEEDS),
    }
    for i in range(rounds + 1):
        found = {name: cost(way.step) for name, way in ways.items()}
        if i > 0:
            yield found


def report(found: list[dict[str, Seconds]]) -> Iterator[str]:
    """Medians of the times, and of the ratios within a round."""
    yield f"{'':44}{'by the clock':>14}{'of a core':>14}"
    for name in found[0]:
        clock, own = (median(one[name][i] for one in found) for i in range(2))
        yield f"{name + ', seconds a step':44}{clock:14.2f}{own:14.2f}"
    one, several = list(found[0])[1:]
    for name, times in ((one, 1), (several, SEEDS)):
        clock, own = (median(times * round_["plain"][i] / round_[name][i] for round_ in found) for i in range(2))
        yield f"{name + ' against plain':44}{clock:13.1f}x{own:13.1f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    torch.set_num_threads(1)
    for line in report(list(measure(parser.parse_args().rounds))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
