"""The operations of a training step through towers, counted on tensors without data, for `benchmarks.cost`.

PyTorch counts the floating-point operations of the matrix products, forward and backward: of the code that trains, and
of the plain way, in which all 77 tokens of a prompt and all of the image tower run in every step, without gradients
where nothing is trained.
"""

from collections.abc import Callable
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
from methods.contract.encoder import Prompts
from methods.contract.needs import arrays, depth
from methods.fine_tune import FineTuning
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from workflow.lib.encoding import backbones, beside
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

BATCH = 32
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
