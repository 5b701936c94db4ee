"""What towers in the loop cost on FGVC-Aircraft, on paper: counted operations over an assumed rate, nothing measured.

PyTorch counts the floating-point operations of the matrix products of a step, forward and backward, on tensors without
data: of the code that trains, and of the plain way, in which all 77 tokens of a prompt and all of the image tower run
in every step, without gradients where nothing is trained. Steps are those of the recipes, with 100 classes; a training
ends with logits for 3333 images, as often as the code computes them. An hour is one of a GPU at a share of its peak.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.adapted import PROMPTS, LowRank
from benchmarks.seeds import NAMES, SCALE, dim
from methods import Replica, Support, Task, TrainedMethod
from methods.clip_lora import LowRankAdaptation
from methods.contract.adapted import steps as steps_of
from methods.contract.encoder import Prompts
from methods.contract.needs import arrays, depth
from methods.contract.tuned import POINTS
from methods.coop import ContextOptimization
from methods.fine_tune import FineTuning
from methods.kgcoop import KnowledgeGuidedContext
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from workflow.lib.encoding import backbones, beside
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.engine import optimizers
from workflow.lib.engine.batches import bounds
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

MODELS = ("ViT-B-32", "ViT-B-16")
METHODS: tuple[type[TrainedMethod], ...] = (
    ContextOptimization, KnowledgeGuidedContext, LowRankAdaptation, TwoStage, LastBlock, FineTuning,
)  # fmt: skip
SHOTS, SEEDS = (1, 2, 4, 8, 16), 3
IMAGES, QUERIES, BATCH = 10_000, 3333, 32
PEAKS = {"T4": 8.1, "V100": 15.7, "A100": 19.5, "H100": 66.9}  # TFLOP/s in float32 without tensor cores, as published
GPU, SHARE = "A100", 0.4
META = torch.device("meta")


class Step(NamedTuple):
    """Operations of a step of a training, of what comes once in it for each image of the support, and of a query."""

    step: float
    image: float
    query: float


def flops(run: Callable[[], object]) -> float:
    """Of the products in a call, attention's among them."""
    allowed = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its products are not counted
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(allowed)
    return float(counter.get_total_flops())


def loaded(name: str) -> Backbone:
    """A model without data."""
    with META:
        model = open_clip.create_model(name, pretrained=None, device=META)
    made: Any = model
    made.logit_scale = nn.Parameter(torch.tensor(SCALE).log())
    return backbones.wrap(model, open_clip.get_tokenizer(name), "", "fp32", META)


def problem(backbone: Backbone) -> Task:
    """That of FGVC-Aircraft with one shot, whose images are not looked at."""
    encoder = Encoder(Tower(backbone.model), backbone.tokenizer, NAMES, ["{}"])
    model = TwoTowers(backbone, [[name] for name in NAMES], ["{}"])
    text = np.zeros((len(NAMES), dim(backbone)), np.float32)
    return Task(support(1), NAMES, "1", text, SCALE, encoder=encoder, model=model)


def support(shots: int) -> dict[int, Support]:
    """That of one seed."""
    labels = np.tile(np.arange(len(NAMES)), shots)
    return {0: Support(np.zeros((len(labels), 1), np.float32), labels)}


def whole(backbone: Backbone) -> float:
    """Of an image through its tower."""
    images = torch.empty((1, 3, *beside.sides(backbone)), device=backbone.device)
    model: Any = backbone.model
    with torch.no_grad():
        return flops(lambda: model.encode_image(images))


# --- Ours ---


def ours(method: type[TrainedMethod], backbone: Backbone) -> Step:
    """What the method's own head computes, of one replica."""
    task, trainer = problem(backbone), method()
    params = method.defaults({}) | ({"dropout": 0.0} if "dropout" in method.params else {})
    parts = trainer.head(nn, task, Replica("-", params, 0))
    head = SimpleNamespace(**{name: stacked(part, backbone.device) for name, part in parts.items()})
    weights = [*(part for part in vars(head).values() if isinstance(part, nn.Parameter))]
    weights += [one for part in parts.values() if isinstance(part, nn.Module) for one in part.parameters()]
    x = rows(trainer.needs(params), backbone)
    own = [weight for weight in weights if weight.requires_grad]
    step = flops(lambda: torch.autograd.grad(trainer.logits(head, x).sum(), own))
    with torch.no_grad():
        classify = trainer.folded(head)
        answer = flops(lambda: classify(x[0]))
    image = answer / BATCH if method is TwoStage else 0.0
    return Step(step, image, answer / BATCH)


def stacked(part: Any, device: torch.device) -> Any:
    """A part of a head as the engine hands it to `logits`, with one replica first."""
    if isinstance(part, nn.Parameter):
        return nn.Parameter(part.detach()[None].to(device))
    if isinstance(part, nn.Module):
        module = part.eval()
        return lambda *given: module(*(one[0] if one.dim() > 2 else one for one in given))[None]
    return part if isinstance(part, Prompts) else torch.as_tensor(part).to(device)


def rows(needs: frozenset[str], backbone: Backbone) -> Tensor:
    """A batch of what a method takes of images."""
    found = arrays(needs)
    if not found:
        return torch.empty(1, BATCH, dim(backbone), device=backbone.device)
    if blocks := depth(found[0]):
        return torch.empty(1, BATCH, prod(beside.shape_before(backbone, blocks)), device=backbone.device)
    return torch.empty(1, BATCH, 3 * prod(beside.sides(backbone)), dtype=torch.uint8, device=backbone.device)


# --- The plain way ---


def plain(method: type[TrainedMethod], backbone: Backbone) -> Step:
    """Whole prompts and whole images through the model itself, which it changes."""
    model: Any = backbone.model
    image = whole(backbone)
    own, reads = trained(method, model)
    images = torch.empty((BATCH, 3, *beside.sides(backbone)), device=backbone.device)
    tokens = backbone.tokenizer(PROMPTS).to(backbone.device)
    texts = torch.empty(len(NAMES), dim(backbone), device=backbone.device)

    def step() -> object:
        logits = model.encode_image(images) @ (model.encode_text(tokens) if reads else texts).T
        return torch.autograd.grad(logits.sum(), own)

    return Step(flops(step), 0.0, image)


def trained(method: type[TrainedMethod], model: Any) -> tuple[list[Tensor], bool]:
    """What is trained, and whether the text tower runs. All embeddings stand for contexts: products are the same."""
    if method is LowRankAdaptation:
        with META:
            for block in (*model.transformer.resblocks, *model.visual.transformer.resblocks):
                block.attn = LowRank(block.attn)
        low: list[Tensor] = [
            part for block in model.modules() if isinstance(block, LowRank) for part in (block.down, block.up)
        ]
        return low, True
    if method is TwoStage:
        parts = [norm for norm in model.modules() if isinstance(norm, nn.LayerNorm)]
    elif method is LastBlock:
        parts = [model.visual.transformer.resblocks[-1], model.visual.ln_post]
    else:
        parts = [model.visual if method is FineTuning else model.token_embedding]
    own: list[Tensor] = [parameter.requires_grad_() for part in parts for parameter in part.parameters()]
    own += [model.visual.proj.requires_grad_()] if method is LastBlock else []
    return own, method not in (LastBlock, FineTuning)


# --- Whole trainings ---


def training(method: type[TrainedMethod], task: Task, one: Step, passes: int, second: float) -> float:
    """Of a training with the support of a task, which ends with so many passes over the queries.

    `second` are those of a step of the second stage, of a method that has one. A last batch counts as a whole one.
    """
    params, size = method.defaults({}), len(task.supports[0].y)
    recipe = method().recipe(task, params)
    steps = optimizers.steps(recipe, len(bounds(size, recipe.batch_size)))
    found = steps * one.step + size * one.image + passes * QUERIES * one.query
    return found + (steps_of(task, params) - steps) * second if method is TwoStage else found


def both(method: type[TrainedMethod], name: str) -> dict[str, list[float]]:
    """The operations of a training at each number of shots, the plain way and ours."""
    backbone = loaded(name)
    product = 6.0 * BATCH * dim(backbone) * len(NAMES)
    tasks = [replace(problem(backbone), supports=support(shots), shots=str(shots)) for shots in SHOTS]
    found = ours(method, backbone), plain(method, backbone)
    second = product, BATCH * found[1].query + product
    passes = 1 if method is TwoStage else POINTS, 1
    mine, theirs = ([training(method, task, *way) for task in tasks] for way in zip(found, passes, second, strict=True))
    return {"plain": theirs, "ours": mine}


def line(method: type[TrainedMethod], way: str, hours: list[float]) -> str:
    """The row of a method, the plain way or ours."""
    label = f"`{method.name}`" + (", the plain way" if way == "plain" else "")
    return f"| {label} | " + " | ".join(f"{one:.3f}" for one in [*hours, SEEDS * sum(hours)]) + " |"


def hour(gpu: str, share: float) -> float:
    """The operations of an hour of a GPU at a share of its peak."""
    return 3600e12 * PEAKS[gpu] * share


def table(name: str, each_hour: float) -> Iterator[str]:
    """Hours of one model, of so many operations each."""
    yield f"| {name}, hours | " + " | ".join(f"{n} shot{'s'[: n - 1]}" for n in SHOTS) + f" | all, {SEEDS} seeds |"
    yield "|---|" + "---:|" * (len(SHOTS) + 1)
    total = {"plain": 0.0, "ours": 0.0}
    for method in METHODS:
        for way, each in both(method, name).items():
            total[way] += SEEDS * sum(each)
            yield line(method, way, [one / each_hour for one in each])
    features = 2 * IMAGES * whole(loaded(name))
    gap = " |" * len(SHOTS)
    yield f"| features of {IMAGES} images, and what goes into their last block |{gap} {features / each_hour:.3f} |"
    yield f"| all of it, the plain way |{gap} {total['plain'] / each_hour:.1f} |"
    yield f"| all of it |{gap} {(total['ours'] + features) / each_hour:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=PEAKS, default=GPU, help="whose published peak in float32 is taken")
    parser.add_argument("--share", type=float, default=SHARE, help="of its peak that a training is assumed to reach")
    arguments = parser.parse_args()
    print("\n".join(report(arguments.gpu, arguments.share)))


def report(gpu: str, share: float) -> Iterator[str]:
    """The tables of all models."""
    yield f"On paper, not measured: one {gpu} at {share:.0%} of its {PEAKS[gpu]} TFLOP/s in float32."
    for name in MODELS:
        yield ""
        yield from table(name, hour(gpu, share))


if __name__ == "__main__":
    main()
