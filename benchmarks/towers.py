"""A step of CoOp through ViT-B-32's text tower, and of its image tower's last block, against the plain way.

In one run on one thread. 100 class names of aircraft, 16 context vectors, batches of 32 cached image features, or of
what goes into the block. Random weights: speed doesn't depend on what they are. The plain way is what one writes after
the paper: all 77 tokens of every prompt through the model's own transformer, one training after the other; and all of
the image tower for each image, without gradients below the last block. A round measures each in turn, and medians over
rounds are printed: by the clock, and of the processor's own time, which says the same on a machine that is busy with
other work. At the end stands what three seeds take side by side and one after the other: see `seeds`.
"""

import argparse
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from benchmarks.seeds import DIM, NAMES, SCALE, SEEDS, Seconds, cost, report_seeds
from methods import Replica, Support, Task, TrainedMethod, unit
from methods.coop import ContextOptimization
from methods.last_block import LastBlock
from workflow.lib.encoding import backbones, beside, cut_tower
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.engine import training
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

BATCH, CONTEXT = 32, 16


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


class OursOfImages:
    """The engine's steps of the last block, on what goes into it."""

    def __init__(self, backbone: Backbone, images: Tensor, labels: Tensor, text: Tensor) -> None:
        rows = beside.Blocks(backbone, 1)(images).flatten(1).numpy()
        model = TwoTowers(backbone, [[name] for name in NAMES], ["{}"])
        supports = {0: Support(rows, labels.numpy())}
        task = Task(supports, NAMES, "1", text.numpy(), SCALE, engine=training, model=model)
        params = LastBlock.defaults({}) | {"epochs": 10**6}
        self._run = training.Run(LastBlock(), task, [Replica("-", params, 0)])

    def step(self) -> None:
        self._run.advance(1)


class PlainOfImages:
    """The same on images: what is below the block runs in every step."""

    def __init__(self, backbone: Backbone, images: Tensor, labels: Tensor, text: Tensor) -> None:
        self._visual, self._images, self._y, self._text = backbone.visual, images, labels, text
        visual: Any = self._visual
        self._own = [*visual.transformer.resblocks[-1].parameters(), *visual.ln_post.parameters(), visual.proj]
        self._began = [parameter.detach().clone() for parameter in self._own]
        for parameter in self._own:
            parameter.requires_grad_(True)
        self._optimizer = torch.optim.AdamW(self._own, lr=1e-5, weight_decay=0.0)

    def step(self) -> None:
        with torch.no_grad():
            x = cut_tower.before(self._visual, self._images, 1)
        features = normalize(cut_tower.embedded(self._visual, x, 1), dim=-1)
        loss = cross_entropy(SCALE * features @ self._text.T, self._y)
        for parameter, began in zip(self._own, self._began, strict=True):
            loss = loss + (parameter - began).square().sum()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        self._optimizer.step()


def of_images() -> dict[str, Any]:
    """Both ways of a step of the last block, of a ViT-B-32 each."""
    images, labels = torch.randn(BATCH, 3, 224, 224), torch.randint(len(NAMES), (BATCH,))
    text = normalize(torch.randn(len(NAMES), DIM), dim=-1)
    loaded = [open_clip.create_model("ViT-B-32") for _ in range(2)]
    towers = [backbones.wrap(one, SimpleTokenizer(), "", "fp32", torch.device("cpu")) for one in loaded]
    return {
        "plain": PlainOfImages(towers[0], images, labels, text),
        "ours": OursOfImages(towers[1], images, labels, text),
    }


def of_texts() -> dict[str, Any]:
    """The ways of a step of CoOp."""
    tower = TextTransformer(width=DIM, heads=8, layers=12, output_dim=DIM).eval().requires_grad_(False)
    task = problem(tower)
    return {
        "plain": Plain(task, tower),
        "ours": Ours(task, 1),
        f"ours, {SEEDS} seeds side by side": Ours(task, SEEDS),
    }


def measure(ways: dict[str, Any], rounds: int) -> Iterator[dict[str, Seconds]]:
    """Seconds per step, round after round; the first one, which warms up, is left out."""
    for i in range(rounds + 1):
        found = {name: cost(way.step) for name, way in ways.items()}
        if i > 0:
            yield found


def report(what: str, found: list[dict[str, Seconds]]) -> Iterator[str]:
    """Medians of the times, and of the ratios within a round."""
    yield f"{what:44}{'by the clock':>14}{'of a core':>14}"
    for name in found[0]:
        clock, own = (median(one[name][i] for one in found) for i in range(2))
        yield f"{name + ', seconds a step':44}{clock:14.2f}{own:14.2f}"
    for name, times in zip(list(found[0])[1:], (1, SEEDS), strict=False):
        clock, own = (median(times * round_["plain"][i] / round_[name][i] for round_ in found) for i in range(2))
        yield f"{name + ' against plain':44}{clock:13.1f}x{own:13.1f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--of", choices=["both", *EXPERIMENTS], default="both")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, (ways, method) in EXPERIMENTS.items():
        if arguments.of in (name, "both"):
            torch.manual_seed(0)
            found = list(measure(ways(), arguments.rounds)) if arguments.rounds else []
            for line in [*(report(name, found) if found else ()), *report_seeds(method)]:
                print(line, flush=True)


EXPERIMENTS: dict[str, tuple[Callable[[], dict[str, Any]], type[TrainedMethod]]] = {
    "coop": (of_texts, ContextOptimization),
    "last_block": (of_images, LastBlock),
}

if __name__ == "__main__":
    main()
