"""Methods that train towers: what they learn is what a plain loop over a whole model learns, alone and in company."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch.nn.functional import cross_entropy, normalize

from methods import Replica, Support, Task, TunedMethod, unit
from methods.fine_tune import FineTuning
from methods.last_block import LastBlock
from tests.towers import models
from tests.towers.models import COCA, DEEP, NAMES, RESNET
from workflow.lib.encoding import beside
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.images import Preprocess
from workflow.lib.engine import training
from workflow.lib.engine.modules import Modules
from workflow.lib.towers.model import TwoTowers

STEPS, SCALE, LR = 5, 20.0, 1e-3
TEMPLATE = "a photo of the {}."
BLOCK = ("visual.transformer.resblocks.2", "visual.ln_post", "visual.proj")
TEXT = ("token_embedding", "positional_embedding", "transformer.", "ln_final", "text_projection", "text.")
CASES: dict[str, tuple[type[TunedMethod], Mapping[str, Any], str, Mapping[str, Any], Callable[[str], bool]]] = {
    "last_block, vit": (
        LastBlock, {}, "openai", DEEP, lambda name: name.startswith(BLOCK),
    ),
    "last_block, resnet": (
        LastBlock, {}, "custom", RESNET, lambda name: name.startswith(("visual.layer4", "visual.attnpool")),
    ),
    "fine_tune, vit": (FineTuning, {}, "siglip", DEEP, lambda name: name.startswith("visual.")),
    "fine_tune, resnet": (FineTuning, {}, "openai", RESNET, lambda name: name.startswith("visual.")),
    "fine_tune of both": (
        FineTuning, {"loss": "contrastive"}, "openai", DEEP, lambda name: name.startswith(("visual.", *TEXT)),
    ),
    "fine_tune of both, siglip": (
        FineTuning, {"loss": "contrastive"}, "siglip", DEEP, lambda name: name.startswith(("visual.", *TEXT)),
    ),
    "fine_tune of both, coca": (
        FineTuning, {"loss": "contrastive"}, "coca", COCA, lambda name: name.startswith(("visual.", *TEXT)),
    ),
}  # fmt: skip


def pixels(seed: int) -> torch.Tensor:
    images = np.random.default_rng([6, seed]).integers(256, size=(3 * len(NAMES), 32, 32, 3))
    return torch.from_numpy(images.astype(np.uint8))


def problem(backbone: Backbone, blocks: int = 0, seeds: int = 2) -> Task:
    """Four classes, three shots: images, or what goes into the last blocks, as the job of an extraction makes them."""
    labels = np.repeat(np.arange(len(NAMES)), 3)
    finish = Preprocess(backbone.preprocess).finish
    rows = [
        pixels(seed) if not blocks else beside.Blocks(backbone, blocks)(finish(pixels(seed))) for seed in range(seeds)
    ]
    supports = {seed: Support(each.flatten(1).numpy(), labels) for seed, each in enumerate(rows)}
    model = TwoTowers(backbone, [[name] for name in NAMES], [TEMPLATE])
    text = model.texts()().detach().numpy()
    return Task(supports, NAMES, "3", text, SCALE, engine=training, model=model)


def replicas(method: type[TunedMethod], seeds: int = 2, **params: Any) -> list[Replica]:
    settings = {"lr": LR, "batch_size": 0, "epochs": STEPS, **params}
    return [Replica("-", dict(sorted((method.defaults({}) | settings).items())), seed) for seed in range(seeds)]


def learned(method: type[TunedMethod], task: Task, who: list[Replica]) -> list[dict[str, torch.Tensor]]:
    """The weights of each replica after the steps, by the names of the whole model."""
    run = training.Run(method(), task, who)
    for _ in range(STEPS):
        run.advance(1)
    names = run.head.weights
    found = [
        {name: value.detach() for name, value in run.head.state(i).items() if name in names} for i in range(len(who))
    ]
    text = "text." if hasattr(task.model._backbone.model, "text") else ""  # type: ignore[union-attr]
    return [
        {name.removeprefix("image.").replace("text.part.", text): value for name, value in one.items()} for one in found
    ]


def plain(
    task: Task, backbone: Backbone, replica: Replica, trains: Callable[[str], bool]
) -> tuple[dict[str, torch.Tensor], ...]:
    """The trained weights before and after a loop as one would write it: the whole model on whole images, AdamW.

    And the least that the gradient of each number was.
    """
    model: Any = copy.deepcopy(backbone.model)
    own = {name: parameter for name, parameter in model.named_parameters() if trains(name)}
    before = {name: parameter.detach().clone() for name, parameter in own.items()}
    for parameter in own.values():
        parameter.requires_grad_(True)
    images = Preprocess(backbone.preprocess).finish(pixels(replica.seed))
    y, params = torch.from_numpy(task.supports[replica.seed].y), replica.params
    tokens = backbone.tokenizer([TEMPLATE.replace("{}", name) for name in NAMES])
    optimizer = torch.optim.AdamW(own.values(), lr=1.0, weight_decay=params["weight_decay"])
    warmup = 1 if "loss" in params else 0
    steepness = {name: torch.full_like(value, torch.inf) for name, value in before.items()}
    for step in range(STEPS):
        wave = (1 + cos(pi * (step - warmup) / (STEPS - warmup))) / 2
        optimizer.param_groups[0]["lr"] = LR * (1 if step < warmup else wave)
        features = normalize(model.encode_image(images), dim=-1)
        if params.get("loss") == "contrastive":
            logits = task.logit_scale * features @ normalize(model.encode_text(tokens), dim=-1)[y].T
            place = torch.arange(len(y))
            loss = (cross_entropy(logits, place) + cross_entropy(logits.T, place)) / 2
        else:
            loss = cross_entropy(task.logit_scale * features @ torch.from_numpy(task.class_text()).T, y)
        for name, parameter in own.items() if "lambda" in params else ():
            loss = loss + params["lambda"] / 3 * (parameter - before[name]).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steepness = {name: torch.minimum(least, own[name].grad.abs()) for name, least in steepness.items()}
    return before, {name: parameter.detach() for name, parameter in own.items()}, steepness


def flat(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """All of them but the biases of keys alone, which a softmax does not see."""
    return torch.cat([value.flatten() for name, value in sorted(weights.items()) if not name.endswith("k_proj.bias")])


@pytest.mark.parametrize("case", CASES)
def test_it_learns_what_a_plain_loop_learns_alone_and_in_company(case: str) -> None:
    method, params, kind, vision, trains = CASES[case]
    backbone = models.backbone(kind, vision)
    task = problem(backbone, blocks=1 if method is LastBlock else 0)
    who = replicas(method, **params)
    together = learned(method, task, who)
    for i, replica in enumerate(who):
        (alone,) = learned(method, task, [replica])
        assert all(torch.equal(alone[name], together[i][name]) for name in alone)  # to the bit
        before, after, steepness = plain(task, backbone, replica, trains)
        assert alone.keys() == after.keys()
        # AdamW makes a step of what is nothing but rounding, too.
        clear = flat(steepness) > 1e-6 * flat(steepness).max()
        moved = (flat(after) - flat(before))[clear]
        assert len(moved) > 5_000
        assert moved.norm() > 0.1 * LR * len(moved) ** 0.5
        assert (flat(alone) - flat(after))[clear].norm() <= 1e-4 * moved.norm()


@pytest.mark.parametrize("case", CASES)
def test_side_by_side_as_on_a_gpu_the_gradients_are_those_of_one_after_the_other(case: str) -> None:
    method, params, kind, vision, _ = CASES[case]
    task = problem(models.backbone(kind, vision), blocks=1 if method is LastBlock else 0)
    runs = [training.Run(method(), task, replicas(method, **params)) for _ in range(2)]
    for layer in runs[1].head._layers.values():
        if isinstance(layer, Modules):
            layer._beside = set()
    found, expected = ([*run.gradients(*next(run.batches)).values()] for run in reversed(runs))
    largest = max(float(value.abs().max()) for value in expected)
    assert all((a - b).abs().max() <= 1e-5 * largest for a, b in zip(found, expected, strict=True))
    logits = [run.logits(task.supports[0].x).clone() for run in runs]
    assert torch.allclose(*logits, rtol=1e-5, atol=1e-4)
    assert all(layer._beside == {True, False} for layer in runs[1].head._layers.values() if isinstance(layer, Modules))


@pytest.mark.parametrize(("kind", "vision"), [("openai", DEEP), ("siglip", RESNET)])
@pytest.mark.parametrize("blocks", [1, 2])
def test_what_is_cached_changes_neither_logits_nor_gradients(kind: str, vision: Any, blocks: int) -> None:
    class FromPixels(LastBlock):
        """The same, from pixels on in every step."""

        def blocks(self, params: Any) -> int:
            return 0

        def image(self, model: Any, task: Any, replica: Any) -> Any:
            names = {name.removeprefix("visual.") for name, _ in model.image(blocks).named_parameters()}
            return model.image(0, names.__contains__)

    backbone = models.backbone(kind, vision)
    runs = [
        training.Run(method(), problem(backbone, depth), replicas(LastBlock, blocks=blocks))
        for method, depth in ((LastBlock, blocks), (FromPixels, 0))
    ]
    found = [run.gradients(*next(run.batches)) for run in runs]
    assert found[0].keys() == found[1].keys()
    largest = max(float(value.abs().max()) for value in found[0].values())
    for name, value in found[0].items():
        assert (value - found[1][name]).abs().max() <= 1e-5 * largest, name
    queries = [problem(backbone, depth).supports[1].x for depth in (blocks, 0)]
    logits = [run.logits(each).clone() for run, each in zip(runs, queries, strict=True)]
    assert (logits[0] - logits[1]).abs().max() <= 1e-5 * logits[0].abs().max()


@pytest.mark.parametrize("case", CASES)
def test_no_share_of_what_was_learned_is_zero_shot_and_a_sweep_is_one_training(case: str) -> None:
    method, params, kind, vision, _ = CASES[case]
    backbone = models.backbone(kind, vision)
    task = problem(backbone, blocks=1 if method is LastBlock else 0)
    who = [replicas(method, seeds=1, wise=w, epochs=2, **params)[0] for w in (0.0, 1.0)]
    who = [Replica(str(i), one.params, 0) for i, one in enumerate(who)]
    lines: list[str] = []
    *_, last = method().fit(replace(task, log=lines.append), who)
    logits = dict(zip(last.replicas, np.asarray(last.logits(task.supports[1].x)), strict=True))
    images = Preprocess(backbone.preprocess).finish(pixels(1))
    zero_shot = SCALE * unit(backbone.model.encode_image(images).detach().numpy()) @ task.class_text().T
    assert logits[who[0]] == pytest.approx(zero_shot, abs=1e-4)
    assert np.abs(logits[who[1]] - zero_shot).max() > 0.01
    assert "1 trainings side by side" in lines[0]


def test_crops_are_the_seeds_own_the_same_again_and_left_out_of_answers() -> None:
    task = problem(models.backbone("openai"))
    who = replicas(FineTuning, crop=0.5, flip=True)
    first, again = (learned(FineTuning, task, who) for _ in range(2))
    whole = learned(FineTuning, task, replicas(FineTuning))
    for i in range(2):
        assert torch.equal(flat(first[i]), flat(again[i]))
        assert not torch.allclose(flat(first[i]), flat(whole[i]))
    run = training.Run(FineTuning(), task, who)
    assert torch.equal(run.logits(task.supports[0].x).clone(), run.logits(task.supports[0].x))


def test_it_learns_its_support_which_zero_shot_does_not_know() -> None:
    backbone = models.backbone("openai")
    for method, blocks in ((LastBlock, 1), (FineTuning, 0)):
        task = problem(backbone, blocks)
        (one,) = replicas(method, seeds=1, epochs=60)
        support = task.supports[0]
        *_, last = method().fit(task, [one])
        assert (np.asarray(last.logits(support.x))[0].argmax(1) == support.y).mean() > 0.75


def test_what_they_need_depends_on_their_parameters() -> None:
    base = {"image", "text", "model"}
    assert LastBlock().needs(LastBlock.defaults({})) == base | {"blocks1"}
    assert LastBlock().needs(LastBlock.defaults({}) | {"blocks": 3}) == base | {"blocks3"}
    assert FineTuning().needs(FineTuning.defaults({})) == base | {"pixels"}
    assert FineTuning().needs(FineTuning.defaults({}) | {"loss": "contrastive"}) == base | {"pixels", "text_encoder"}


def test_few_points_are_scored_where_nothing_is_chosen_and_all_where_the_protocol_chooses() -> None:
    task = problem(models.backbone("openai"), blocks=1, seeds=1)
    who = replicas(LastBlock, seeds=1, epochs=8)
    points = [[one.point["epoch"] for one in LastBlock().fit(replace(task, curve=curve), who)] for curve in (20, 0)]
    assert points == [[1, 3, 8], list(range(1, 9))]


def test_the_recipes_are_as_published() -> None:
    task = problem(models.backbone("openai"), blocks=1, seeds=1)
    block, whole = (one().recipe(task, one.defaults({})) for one in (LastBlock, FineTuning))
    assert (block.optimizer, block.lr, block.weight_decay, block.schedule) == ("adamw", 1e-5, 0.0, "cosine")
    assert (whole.optimizer, whole.lr, whole.weight_decay, whole.warmup_epochs) == ("adamw", 1e-5, 0.1, 1)


def test_they_learn_as_many_numbers_of_vit_b_32_as_they_say() -> None:
    with torch.device("meta"):
        visual = VisionTransformer(224, 32, 768, 12, 12, 4.0, output_dim=512)
    block = [*visual.transformer.resblocks[-1].parameters(), *visual.ln_post.parameters(), visual.proj]
    for method, weights in ((LastBlock, block), (FineTuning, list(visual.parameters()))):
        assert method.facts is not None
        learned = method.facts.at(method.facts.learned)
        assert learned == pytest.approx(sum(weight.numel() for weight in weights), rel=0.01)
