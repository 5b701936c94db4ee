"""CoOp and KgCoOp: what they learn is what a plain loop over a whole open_clip model learns, alone and in company."""

from dataclasses import replace
from math import cos, pi
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, embedding, normalize

from methods import Replica, Support, Task, TowerMethod, unit
from methods.coop import ContextOptimization
from methods.kgcoop import KnowledgeGuidedContext
from tests.towers import models
from tests.towers.models import NAMES
from workflow.lib.engine import training
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

METHODS = [ContextOptimization, KnowledgeGuidedContext]
STEPS, SCALE = 5, 20.0


def problem(model: Any, kind: str, seeds: int = 2) -> Task:
    """Four classes, three shots; the written texts are the model's own of one template."""
    rng = np.random.default_rng(2)
    written = model.encode_text(models.tokenizer(kind)([f"a photo of the {name}." for name in NAMES])).detach().numpy()
    labels = np.repeat(np.arange(len(NAMES)), 3)
    supports = {
        seed: Support(unit(rng.normal(size=(len(labels), 16))).astype(np.float32), labels) for seed in range(seeds)
    }
    encoder = Encoder(Tower(model), models.tokenizer(kind), NAMES, ["a photo of the {}."])
    return Task(supports, NAMES, "3", unit(written), SCALE, engine=training, encoder=encoder)


def replicas(method: type[TowerMethod], seeds: int = 2, **params: Any) -> list[Replica]:
    settings = {"context": 6, "lr": 0.2, "batch_size": 0, "epochs": STEPS, "warmup_lr": 0.05, **params}
    return [Replica("-", dict(sorted((method.defaults({}) | settings).items())), seed) for seed in range(seeds)]


def run(method: type[TowerMethod], task: Task, who: list[Replica]) -> list[tuple[np.ndarray[Any, Any], ...]]:
    """The contexts of each replica, before and after the steps."""
    made = training.Run(method(), task, who)
    before = [made.head.state(i)["context"].detach().clone() for i in range(len(who))]
    for _ in range(STEPS):
        made.advance(1)
    return [(old.numpy(), made.head.state(i)["context"].detach().numpy()) for i, old in enumerate(before)]


def plain(task: Task, model: Any, kind: str, replica: Replica, context: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """CoOp's and KgCoOp's training as one would write it: the whole text, `encode_text`, SGD of torch's."""
    support = task.supports[replica.seed]
    x, y, written = torch.from_numpy(support.x), torch.from_numpy(support.y), torch.from_numpy(task.class_text())
    learned = torch.from_numpy(context.copy()).requires_grad_(True)
    count = learned.shape[-2]
    tokens = models.tokenizer(kind)([f"{'X ' * count}{name}." for name in NAMES])
    start = int(kind in ("openai", "custom"))
    table = getattr(model, "text", model).token_embedding
    optimizer = torch.optim.SGD([learned], lr=1.0, momentum=0.9, weight_decay=replica.params["weight_decay"])
    for epoch in range(STEPS):
        wave = replica.params["lr"] * (1 + cos(pi * (epoch - 1) / STEPS)) / 2
        optimizer.param_groups[0]["lr"] = wave if epoch else replica.params["warmup_lr"]
        words = embedding(tokens, table.weight)
        each = learned.expand(len(NAMES), count, -1)
        hook = table.register_forward_hook(
            lambda *_, words=words, each=each: torch.cat([words[:, :start], each, words[:, start + count :]], 1)
        )
        text = normalize(model.encode_text(tokens), dim=-1)
        hook.remove()
        loss = cross_entropy(task.logit_scale * x @ text.T, y)
        if "weight" in replica.params:
            loss = loss + replica.params["weight"] * (1 - (text * written).sum(1).mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return learned.detach().numpy()


def agree(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], before: np.ndarray[Any, Any]) -> bool:
    """To 1e-4 of what has been learned, which is not nothing."""
    moved = np.linalg.norm(expected - before)
    assert moved > 0.05 * np.linalg.norm(before)
    return bool(np.linalg.norm(found - expected) <= 1e-4 * moved)


@pytest.mark.parametrize("kind", ["openai", "custom", "siglip"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_it_learns_what_a_plain_loop_learns_alone_and_in_company(method: type[TowerMethod], kind: str) -> None:
    model = models.model(kind, quick_gelu=kind == "openai")
    task = problem(model, kind)
    who = replicas(method, init="")
    together = run(method, task, who)
    alone = [run(method, task, [one])[0] for one in who]
    for i, replica in enumerate(who):
        before, after = together[i]
        expected = plain(task, model, kind, replica, before)
        assert agree(after, expected, before)
        assert agree(alone[i][1], expected, before)


def test_contexts_of_the_classes_own_are_learned_as_by_a_plain_loop() -> None:
    model = models.model("openai")
    task = problem(model, "openai")
    who = replicas(ContextOptimization, context=3, class_specific=True)
    for replica, (before, after) in zip(who, run(ContextOptimization, task, who), strict=True):
        assert before.shape == (len(NAMES), 3, 32)
        assert agree(after, plain(task, model, "openai", replica, before), before)


@pytest.mark.parametrize("kind", ["openai", "siglip"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_contexts_at_a_prompt_and_no_step_are_zero_shot_with_it(method: type[TowerMethod], kind: str) -> None:
    model = models.model(kind)
    task = problem(model, kind)
    (one,) = replicas(method, seeds=1, init="a photo of a", lr=1e-12, warmup_lr=1e-12, epochs=1)
    (candidate,) = method().fit(task, [one])
    queries = task.supports[1].x
    with torch.no_grad():
        text = normalize(model.encode_text(models.tokenizer(kind)([f"a photo of a {name}." for name in NAMES])), dim=-1)
    expected = SCALE * queries @ text.numpy().T
    assert np.asarray(candidate.logits(queries))[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_variants_differ_and_the_same_seed_gives_the_same(method: type[TowerMethod]) -> None:
    task = problem(models.model("openai"), "openai")
    first, again = (run(method, task, replicas(method, init="")) for _ in range(2))
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], first[1][0])  # contexts are drawn by the seed
    if "weight" in method.params:
        free = run(method, task, replicas(method, init="", weight=0.0))
        assert not np.allclose(free[0][1], first[0][1], rtol=1e-3)


@pytest.mark.parametrize("specific", [False, True])
def test_it_learns_its_support_which_zero_shot_does_not_know(specific: bool) -> None:
    task = problem(models.model("openai"), "openai")
    (one,) = replicas(ContextOptimization, seeds=1, class_specific=specific, epochs=30)
    support, candidates = task.supports[0], ContextOptimization().fit(task, [one])
    right = [(np.asarray(each.logits(support.x))[0].argmax(1) == support.y).mean() for each in candidates]
    assert right[-1] > right[0] + 0.2


def test_what_it_learns_are_the_contexts_alone() -> None:
    task = problem(models.model("openai"), "openai")
    count = {
        str(given): ContextOptimization().trainable(task, ContextOptimization.defaults({}) | {"context": 6} | given)
        for given in ({}, {"init": "a photo of a"}, {"class_specific": True})
    }
    assert list(count.values()) == [6 * 32, 4 * 32, 4 * 6 * 32]


@pytest.mark.parametrize(("shots", "epochs"), [("1", 50), ("2", 100), ("7", 100), ("8", 200), ("all", 100)])
def test_coop_trains_for_as_long_as_published(shots: str, epochs: int) -> None:
    task = replace(problem(models.model("openai"), "openai"), shots=shots)
    recipe = ContextOptimization().recipe(task, ContextOptimization.defaults({}))
    assert (recipe.epochs, recipe.optimizer, recipe.lr, recipe.momentum) == (epochs, "sgd", 2e-3, 0.9)
    assert (recipe.weight_decay, recipe.batch_size, recipe.warmup_epochs, recipe.warmup_lr) == (5e-4, 32, 1, 1e-5)
    assert KnowledgeGuidedContext().recipe(task, KnowledgeGuidedContext.defaults({})).epochs == 100


def test_views_are_asked_for_only_where_they_are_wanted() -> None:
    for method in METHODS:
        base = method.defaults({})
        assert "views" not in method().needs(base)
        assert "views" in method().needs(base | {"views": True})
        task = problem(models.model("openai"), "openai")
        assert [method().recipe(task, base | {"views": on}).views for on in (False, True)] == ["", "random"]


def test_without_a_tower_it_says_what_is_to_be_named() -> None:
    task = replace(problem(models.model("openai"), "openai"), encoder=None)
    with pytest.raises(ValueError, match="must name `text_encoder` in its needs"):
        ContextOptimization().trainable(task, ContextOptimization.defaults({}))
