"""CLIP-LoRA and 2SFS: what they learn is what a plain loop over a whole open_clip model does, alone and in company."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, normalize

from methods import Replica, Task
from methods.clip_lora import LowRankAdaptation
from methods.contract import adapted
from methods.contract.adapted import AdaptedMethod
from methods.two_stage import TwoStage
from tests.samples import make_features
from tests.towers import models
from tests.towers.models import NAMES
from tests.towers.test_prompt_methods import problem
from tests.towers.test_tuned_methods import pixels
from tests.towers.test_tuned_methods import problem as pictures
from workflow.lib.encoding.images import Preprocess
from workflow.lib.engine import training
from workflow.lib.evaluation.needs import met, reason
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

METHODS = [LowRankAdaptation, TwoStage]
KINDS = ["openai", "custom", "siglip"]
STEPS = 5
Arrays = dict[str, np.ndarray[Any, Any]]


def replicas(method: type[AdaptedMethod], seeds: int = 2, **params: Any) -> list[Replica]:
    settings = {"iterations": STEPS, "lr": 0.02, "batch_size": 0, "encoder": "text", **params}
    return [Replica("-", dict(sorted((method.defaults({}) | settings).items())), seed) for seed in range(seeds)]


def one_shot(model: Any, kind: str) -> Task:
    """By its name, so that there are STEPS steps."""
    return replace(problem(model, kind), shots="1")


# --- The plain way ---


class PlainLora(nn.Module):
    """Attention whose queries, keys and values have a low-rank product each, of what is left of the tokens."""

    def __init__(self, inner: nn.MultiheadAttention, down: Tensor, up: Tensor, scale: float, drop: Any) -> None:
        super().__init__()
        self.inner, self.scale, self.drop = inner, scale, drop
        self.down, self.up = nn.Parameter(down.clone()), nn.Parameter(up.clone())

    def forward(self, x: Tensor, *_: Any, attn_mask: Tensor | None = None, need_weights: bool = False) -> tuple[Tensor]:
        inner = self.inner
        weights, biases = inner.in_proj_weight.chunk(3), inner.in_proj_bias.chunk(3)
        q, k, v = (
            linear(x, weights[i], biases[i]) + self.scale * linear(linear(self.drop(x), self.down[i]), self.up[i])
            for i in range(3)
        )
        heads = [one.unflatten(-1, (inner.num_heads, -1)).transpose(1, 2) for one in (q, k, v)]
        scores = heads[0] @ heads[1].mT / heads[0].shape[-1] ** 0.5
        seen = (scores if attn_mask is None else scores + attn_mask).softmax(-1) @ heads[2]
        return (inner.out_proj(seen.transpose(1, 2).flatten(2)),)


def text_of(model: Any) -> Any:
    return getattr(model, "text", model)


def train(parameters: list[Tensor], steps: int, replica: Replica, loss: Any) -> None:
    """So many steps of AdamW, with PyTorch's own cosine."""
    params = replica.params
    optimizer = torch.optim.AdamW(parameters, lr=params["lr"], weight_decay=params["weight_decay"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-6)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def plain_texts(model: Any, kind: str) -> Any:
    tokens = models.tokenizer(kind)([f"a photo of a {name}." for name in NAMES])
    return lambda: normalize(model.encode_text(tokens), dim=-1)


def plain_images(model: Any, task: Task, replica: Replica) -> Any:
    """Unit embeddings of some images of the support: through the tower where that is adapted."""
    if replica.params["encoder"] == "text":
        return lambda rows: torch.from_numpy(task.supports[replica.seed].x)[rows]
    images = Preprocess(models.backbone("openai").preprocess).finish(pixels(replica.seed))
    return lambda rows: normalize(model.encode_image(images[rows]), dim=-1)


def plain_lora(task: Task, given: Any, kind: str, replica: Replica, start: Arrays, drops: Mapping[str, Any]) -> Arrays:
    model, y = deepcopy(given).requires_grad_(False), torch.from_numpy(task.supports[replica.seed].y)
    scale, order = replica.params["alpha"] / replica.params["rank"] ** 0.5, replica.rng("order")
    layers: dict[str, list[PlainLora]] = {}
    for side, tower in (("vision", model.visual), ("text", text_of(model))):
        if f"{side}_down" in start:
            downs, ups = (torch.from_numpy(start[f"{side}_{name}"]) for name in ("down", "up"))
            places = list(tower.transformer.resblocks)[-len(downs) :]
            for place, down, up in zip(places, downs, ups, strict=True):
                place.attn = PlainLora(place.attn, down, up, scale, drops[side])
            layers[side] = [place.attn for place in places]
    images = plain_images(model, task, replica)
    texts = plain_texts(model, kind) if "text" in layers else lambda: torch.from_numpy(task.class_text())

    def loss() -> Tensor:
        rows = order.permutation(len(y))  # which of them a number is drawn for depends on their order
        return cross_entropy(task.logit_scale * images(rows) @ texts().T, y[rows])

    train([part for own in layers.values() for layer in own for part in (layer.down, layer.up)], STEPS, replica, loss)
    named = [(side, name) for side in layers for name in ("down", "up")]
    return {
        f"{side}_{name}": torch.stack([getattr(one, name) for one in layers[side]]).detach().numpy()
        for side, name in named
    }


def plain_two_stage(task: Task, given: Any, kind: str, replica: Replica) -> tuple[Tensor, Tensor, Any]:
    """The classifier W that the second stage starts from, the one that it ends with, and the model then."""
    model, y = deepcopy(given).requires_grad_(False), torch.from_numpy(task.supports[replica.seed].y)
    scale, encoder, all_ = task.logit_scale, replica.params["encoder"], slice(None)
    visual = list(model.visual.modules())
    for norm in (one for one in model.modules() if isinstance(one, nn.LayerNorm)):
        norm.requires_grad_(encoder in ("both", "vision" if any(norm is one for one in visual) else "text"))
    parts = [part for part in model.parameters() if part.requires_grad]
    images = plain_images(model, task, replica)
    texts = plain_texts(model, kind) if encoder != "vision" else lambda: torch.from_numpy(task.class_text())
    train(parts, 3, replica, lambda: cross_entropy(scale * images(all_) @ texts().T, y))
    weight, known = texts().detach().clone().requires_grad_(True), images(all_).detach()
    start = weight.detach().clone()
    train([weight], 2, replica, lambda: cross_entropy(scale * known @ normalize(weight, dim=-1).T, y))
    return start, weight.detach(), model


# --- Ours ---


def learned(method: type[AdaptedMethod], task: Task, who: list[Replica]) -> list[tuple[Arrays, Arrays]]:
    """What each replica learns in the tower, before and after the steps."""
    run = training.Run(method(), task, who)
    before = [
        {name: value.detach().numpy().copy() for name, value in run.head.state(i).items()} for i in range(len(who))
    ]
    for _ in range(run.recipe.steps):
        run.advance(1)
    return [
        (old, {name: value.detach().numpy() for name, value in run.head.state(i).items()})
        for i, old in enumerate(before)
    ]


def classifiers(task: Task, who: list[Replica]) -> list[np.ndarray[Any, Any]]:
    """`s unit(W)^T` of each replica `(D, K)`, after both stages."""
    last = list(TwoStage().fit(task, who))[-1]
    assert [last.replicas.index(one) for one in who] == list(range(len(who)))
    return list(last.logits(np.eye(16, dtype=np.float32)).detach().numpy().copy())


def close(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], before: np.ndarray[Any, Any]) -> bool:
    """To 1e-4 of what has been learned, which is not nothing."""
    moved = np.linalg.norm(expected - before)
    assert moved > 0.02 * max(1.0, np.linalg.norm(before))
    return bool(np.linalg.norm(found - expected) <= 1e-4 * moved)


class Drawn:
    """Dropout whose numbers are those of the replica's generator."""

    def __init__(self, replica: Replica, share: float) -> None:
        self._generator = torch.Generator().manual_seed(int(replica.rng("noise").integers(2**63)))
        self._share = share

    def __call__(self, x: Tensor) -> Tensor:
        if not self._share:
            return x
        return x * torch.empty_like(x).bernoulli_(1 - self._share, generator=self._generator) / (1 - self._share)

    def cut(self, length: int) -> Any:
        """For the tokens alone that our cut leaves: no other is seen."""
        return lambda x: torch.cat([self(x[:, :length].contiguous()), x[:, length:]], 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("blocks", "share"), [(0, 0.0), (0, 0.25), (2, 0.25)])
def test_lora_learns_what_a_plain_loop_learns_alone_and_in_company(kind: str, blocks: int, share: float) -> None:
    model = models.model(kind, quick_gelu=kind == "openai")
    task = one_shot(model, kind)
    who = replicas(LowRankAdaptation, blocks=blocks, dropout=share, alpha=4.0)
    ends = models.tokenizer(kind)([f"a photo of a {name}." for name in NAMES]).argmax(1)
    length = int(ends.max()) + 1 if kind != "siglip" else models.TEXT["context_length"]
    together, alone = learned(LowRankAdaptation, task, who), [learned(LowRankAdaptation, task, [one])[0] for one in who]
    for i, replica in enumerate(who):
        before, after = together[i]
        expected = plain_lora(task, model, kind, replica, before, {"text": Drawn(replica, share).cut(length)})
        assert before["text_down"].shape == (blocks or 3, 3, 2, 32)
        for name in expected:
            assert close(after[name], expected[name], before[name])
            assert close(alone[i][1][name], expected[name], before[name])


@pytest.mark.parametrize("kind", KINDS)
def test_two_stages_learn_what_a_plain_loop_learns_alone_and_in_company(kind: str) -> None:
    model = models.model(kind, quick_gelu=kind == "openai")
    task, who = one_shot(model, kind), replicas(TwoStage)
    together, alone = classifiers(task, who), [classifiers(task, [one])[0] for one in who]
    unadapted = plain_texts(model, kind)().detach()
    for i, replica in enumerate(who):
        start, end, _ = plain_two_stage(task, model, kind, replica)
        assert (start - unadapted).norm() > 0.05 * unadapted.norm()
        expected = task.logit_scale * normalize(end, dim=-1).T.numpy()
        for found in (together[i], alone[i]):
            assert close(found, expected, task.logit_scale * start.T.numpy())
            assert close(found, expected, task.logit_scale * unadapted.T.numpy())


def with_images(kind: str, blocks: int = 0) -> tuple[Task, Any]:
    """Images of four classes, and both towers of a model."""
    backbone = models.backbone(kind)
    encoder = Encoder(Tower(backbone.model), models.tokenizer(kind), NAMES, ["a photo of the {}."])
    return replace(pictures(backbone, blocks), shots="1", encoder=encoder), backbone.model


@pytest.mark.parametrize("kind", ["openai", "siglip"])
@pytest.mark.parametrize(("encoder", "blocks", "share"), [("both", 0, 0.25), ("vision", 0, 0.0), ("both", 2, 0.25)])
def test_lora_in_the_image_tower_learns_what_a_plain_loop_learns(
    kind: str, encoder: str, blocks: int, share: float
) -> None:
    task, model = with_images(kind, blocks)
    who = replicas(LowRankAdaptation, encoder=encoder, blocks=blocks, dropout=share, alpha=4.0)
    ends = models.tokenizer(kind)([f"a photo of a {name}." for name in NAMES]).argmax(1)
    length = int(ends.max()) + 1 if kind != "siglip" else models.TEXT["context_length"]
    together, alone = learned(LowRankAdaptation, task, who), [learned(LowRankAdaptation, task, [one])[0] for one in who]
    for i, replica in enumerate(who):
        before, after = together[i]
        drop = Drawn(replica, share)
        expected = plain_lora(task, model, kind, replica, before, {"vision": drop, "text": drop.cut(length)})
        assert before["vision_down"].shape == (blocks or 3, 3, 2, 32)
        assert set(expected) == set(after)
        for name in expected:
            assert close(after[name], expected[name], before[name])
            assert close(alone[i][1][name], expected[name], before[name])


@pytest.mark.parametrize("encoder", ["both", "vision"])
def test_two_stages_with_the_image_tower_classify_as_a_plain_loop_does(encoder: str) -> None:
    task, model = with_images("openai")
    who, queries = replicas(TwoStage, encoder=encoder), task.supports[1].x
    images = Preprocess(models.backbone("openai").preprocess).finish(pixels(1))
    for together in (who, who[:1]):
        last = list(TwoStage().fit(task, together))[-1]
        for found, replica in zip(last.logits(queries), together, strict=True):
            _, end, adapted = plain_two_stage(task, model, "openai", replica)
            with torch.no_grad():
                features, before = (normalize(one.encode_image(images), dim=-1) for one in (adapted, model))
            expected = task.logit_scale * (features @ normalize(end, dim=-1).T).numpy()
            assert close(found.numpy(), expected, task.logit_scale * before.numpy() @ task.class_text().T)


@pytest.mark.parametrize("encoder", ["both", "vision"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_where_nothing_is_learned_the_image_tower_is_itself(method: type[AdaptedMethod], encoder: str) -> None:
    task, model = with_images("openai")
    (one,) = replicas(method, seeds=1, encoder=encoder, lr=1e-12)
    *_, candidate = method().fit(task, [one])
    with torch.no_grad():
        texts = plain_texts(model, "openai")() if encoder == "both" else torch.from_numpy(task.class_text())
        expected = task.logit_scale * plain_images(model, task, one)(slice(None)) @ texts.T
    assert np.allclose(candidate.logits(task.supports[0].x)[0], expected, atol=1e-4)


def test_crops_are_drawn_anew_and_each_replica_has_its_own() -> None:
    task, _ = with_images("openai")
    who = replicas(LowRankAdaptation, encoder="vision", crop=0.3, flip=True)
    together, alone = learned(LowRankAdaptation, task, who), [learned(LowRankAdaptation, task, [one])[0] for one in who]
    whole = learned(LowRankAdaptation, task, replicas(LowRankAdaptation, encoder="vision"))
    for i in range(len(who)):
        assert close(together[i][1]["vision_up"], alone[i][1]["vision_up"], together[i][0]["vision_up"])
        assert not np.allclose(together[i][1]["vision_up"], whole[i][1]["vision_up"])


@pytest.mark.parametrize(
    ("params", "needs"),
    [
        ({}, {"image", "text", "text_encoder", "text_blocks", "model", "image_blocks", "pixels"}),
        ({"encoder": "text"}, {"image", "text", "text_encoder", "text_blocks"}),
        ({"encoder": "vision", "blocks": 3}, {"image", "text", "model", "image_blocks", "blocks3"}),
    ],
)
def test_what_is_needed_follows_from_the_towers(params: dict[str, Any], needs: set[str]) -> None:
    assert LowRankAdaptation().needs(LowRankAdaptation.defaults({}) | params) == needs


@pytest.mark.parametrize("kind", [*models.CAUSAL[:2], "siglip", "first", "eos"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_where_nothing_is_learned_it_is_zero_shot_with_its_prompt(method: type[AdaptedMethod], kind: str) -> None:
    """LoRA begins with B = 0, the LayerNorms with the tower's own: steps too small to matter leave it there."""
    model = models.model(kind)
    task = one_shot(model, kind)
    (one,) = replicas(method, seeds=1, lr=1e-12)
    *_, candidate = method().fit(task, [one])
    queries = task.supports[1].x
    with torch.no_grad():
        expected = task.logit_scale * torch.from_numpy(queries) @ plain_texts(model, kind)().T
    assert np.allclose(candidate.logits(queries)[0], expected, atol=1e-4)


def test_the_defaults_are_the_published_recipes() -> None:
    task = replace(problem(models.model("openai"), "openai"), shots="4")
    for method, steps in ((LowRankAdaptation, 2000), (TwoStage, 720)):
        recipe = method().recipe(task, method.defaults({}))
        assert (recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.batch_size) == ("adamw", 2e-4, 1e-2, 32)
        assert (recipe.schedule, recipe.floor, recipe.steps) == ("cosine", 1e-6, steps)
        many = method().recipe(replace(task, shots="40"), method.defaults({}))
        assert many.steps == 4 * steps
    lora = LowRankAdaptation.defaults({})
    assert (lora["rank"], lora["alpha"], lora["dropout"], lora["prompt"]) == (2, 1.0, 0.25, "a photo of a {}.")
    points = [candidate.point["step"] for candidate in TwoStage().fit(task, replicas(TwoStage, iterations=5))]
    assert (points[0] > 12, points[-1]) == (True, 20)


def test_what_they_learn_is_counted() -> None:
    task = problem(models.model("openai"), "openai")
    text = {"encoder": "text"}
    assert LowRankAdaptation().trainable(task, LowRankAdaptation.defaults({}) | text) == 3 * 3 * 2 * 2 * 32
    assert TwoStage().trainable(task, TwoStage.defaults({}) | text) == 7 * 2 * 32 + 4 * 16
    task, _ = with_images("openai")
    assert LowRankAdaptation().trainable(task, LowRankAdaptation.defaults({})) == 2 * 3 * 3 * 2 * 2 * 32
    assert TwoStage().trainable(task, TwoStage.defaults({})) == (7 + 8) * 2 * 32 + 4 * 16


def test_a_begins_as_linear_layers_do_and_differs_between_seeds() -> None:
    task = problem(models.model("openai"), "openai")
    run = training.Run(LowRankAdaptation(), task, replicas(LowRankAdaptation))
    first, second = (run.head.state(i) for i in range(2))
    assert not first["text_up"].any()
    largest = first["text_down"].abs().max()
    assert 0.9 * 32**-0.5 < largest <= 32**-0.5
    assert not torch.equal(first["text_down"], second["text_down"])


def test_the_prompt_may_be_the_dataset_s_own() -> None:
    model = models.model("openai")
    task = one_shot(model, "openai")
    (one,) = replicas(LowRankAdaptation, seeds=1, prompt="", lr=1e-12)
    *_, candidate = LowRankAdaptation().fit(task, [one])
    tokens = models.tokenizer("openai")([f"a photo of the {name}." for name in NAMES])
    with torch.no_grad():
        texts = normalize(model.encode_text(tokens), dim=-1)
    expected = task.logit_scale * torch.from_numpy(task.supports[0].x) @ texts.T
    assert np.allclose(candidate.logits(task.supports[0].x)[0], expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_towers_of_other_blocks_are_na_with_the_reason(method: type[AdaptedMethod]) -> None:
    needs = method().needs(method.defaults({}) | {"encoder": "text"})
    there = make_features()
    task = problem(models.model("odd blocks"), "odd blocks")
    assert "text_blocks" not in met(there, task.encoder)
    assert reason(needs, there, task.encoder).endswith("the blocks of its text tower are not open_clip's usual ones")
    assert needs <= met(there, problem(models.model("siglip"), "siglip").encoder)


def test_image_towers_of_another_kind_are_na_with_the_reason() -> None:
    model = TwoTowers(models.backbone("openai", models.RESNET), [[name] for name in NAMES], ["a photo of the {}."])
    needs = LowRankAdaptation().needs(LowRankAdaptation.defaults({})) - {"pixels"}
    encoder = problem(models.model("openai"), "openai").encoder
    found = reason(needs, make_features(), encoder, model)
    assert found.startswith("needs image_blocks, which these features don't have: of its image tower only the blocks")
    assert found.endswith("open_clip's own ViT are adapted, and a ModifiedResNet is not open_clip's own ViT")


@pytest.mark.parametrize(("encoder", "points"), [("text", [0, 2, 12]), ("vision", [0, 2, 3]), ("both", [0, 2, 3])])
def test_where_images_go_through_a_tower_no_more_than_three_points_of_a_training_are_scored(
    encoder: str, points: list[int]
) -> None:
    """Each is a pass of all queries through it. Through the text tower go the classes alone; 0 are all points."""
    task = one_shot(models.model("openai"), "openai")
    assert [adapted.few(replace(task, curve=curve), {"encoder": encoder}).curve for curve in (0, 2, 12)] == points
