"""The engine: every replica is what it would be alone, and alone it is what a plain loop gives."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods import Array, Params, Recipe, Replica, Support, Task, TrainedMethod
from methods.attention_probe import AttentionProbe
from methods.clip_adapter import ClipAdapter
from methods.linear_probe import LinearProbe
from tests.engine import heads_by_hand as by_hand
from tests.engine.heads_by_hand import D, K, initial, learned, make_task, train_by_hand
from workflow.lib.engine import kernels, progress, training
from workflow.lib.engine.batch_norm import Room
from workflow.lib.engine.batches import bounds

TRAINING = {"lr": 1e-3, "weight_decay": 0.01, "epochs": 3, "batch_size": 12}


class Sandwich(nn.Module):
    """A module that the engine knows nothing about."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(D), nn.Linear(D, 7)
        self.batch_norm, self.outer = nn.BatchNorm1d(7), nn.Linear(7, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.batch_norm(self.inner(self.norm(x)))))


class Unknown(TrainedMethod):
    """A head of one module that goes through vmap."""

    name = "unknown"

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {"module": Sandwich()}

    def logits(self, head: Any, x: Array) -> Array:
        return head.module(x)


class UnknownByHand(by_hand.Plain):
    def __init__(self, layers: Mapping[str, Any], params: Params) -> None:
        super().__init__()
        self.module = layers["module"]

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


class Loose(TrainedMethod):
    """A head with parameters of its own, a chain of layers, a penalty and a rate for one part."""

    name = "loose"
    scalars = ("ratio",)

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        chain = nn.Sequential(nn.BatchNorm1d(task.dim), nn.ReLU(), nn.Linear(task.dim, task.classes))
        return {"chain": chain, "residual": nn.Parameter(torch.randn(task.classes, task.dim)), "text": task.text}

    def logits(self, head: Any, x: Array) -> Array:
        return head.chain(x) + x @ (head.text + head.ratio * head.residual).mT

    def penalty(self, head: Any) -> Array:
        return 0.1 * ((head.residual - head.text) ** 2).sum(-1).mean(-1)

    def recipe(self, task: Task, params: Params) -> Recipe:
        return Recipe("sgd", params["lr"], params["weight_decay"], 3, 12, rates={"residual": 10.0})


class LooseByHand(by_hand.Plain):
    def __init__(self, layers: Mapping[str, Any], params: Params) -> None:
        super().__init__()
        self.chain, self.residual = layers["chain"], layers["residual"]
        self.text, self.ratio = torch.as_tensor(layers["text"]), params["ratio"]

    def forward(self, x: Tensor) -> Tensor:
        return self.chain(x) + x @ (self.text + self.ratio * self.residual).T

    def penalty(self) -> Tensor:
        return 0.1 * ((self.residual - self.text) ** 2).sum(1).mean()


HEADS: dict[str, tuple[TrainedMethod, type[by_hand.Plain], dict[str, Any]]] = {
    "linear": (LinearProbe(), by_hand.LinearProbeByHand, {"batch_norm": False}),
    "linear, BN": (LinearProbe(), by_hand.LinearProbeByHand, {"batch_norm": True}),
    **{
        f"attention, {pre:d}{post:d}": (
            AttentionProbe(),
            by_hand.AttentionByHand,
            {"ratio": 0.4, "pre_norm": pre, "post_norm": post},
        )
        for pre, post in product([False, True], repeat=2)
    },
    **{
        f"adapter, {recipe}": (
            ClipAdapter(),
            by_hand.ClipAdapterByHand,
            {"ratio": 0.3, "reduction": 4, "recipe": recipe},
        )
        for recipe in ("study", "paper")
    },
    "unknown module": (Unknown(), UnknownByHand, {}),
}


# In these a bias can't change the loss: its gradient is rounding, which Adam would scale up to steps of full length.
IDLE = ("attention, 11", "unknown module")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """As in a cell of the workflow."""
    torch.set_num_threads(1)


@pytest.fixture(params=HEADS, ids=str)
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A method, the module written by hand, parameters, and PyTorch's optimiser of the method's recipe."""
    method, plain, params = HEADS[request.param]
    eps = 0.1 if request.param in IDLE else 1e-8
    recipe = type(method).recipe
    monkeypatch.setattr(type(method), "recipe", lambda *args: replace(recipe(*args), eps=eps))
    return method, plain, TRAINING | params, partial(by_hand.adamw, eps=eps)


@pytest.fixture
def double() -> Iterator[None]:
    """float64 throughout: what is left of a difference is then not rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(method: TrainedMethod, task: Task, replicas: Sequence[Replica], whole: bool = True) -> training.Run:
    """The replicas after the three epochs of their recipe: each in one go, as ever, or step by step."""
    run = training.Run(method, task, replicas)
    for _ in range(3 if whole else 3 * run.per_epoch):
        run.advance(run.per_epoch if whole else 1)
    return run


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    """Every tensor within a share of the largest number in it, or of the learning rate where it has not moved."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        error = (found[name] - value).abs().max() / value.abs().max().clamp_min(1e-3)
        assert error <= tolerance, f"{name} differs by {error:.1e}"


@pytest.mark.parametrize("code", ["epochs", "kernels", "operations"])
@pytest.mark.parametrize("size", [48, 49, 43], ids=["remainder 0", "remainder 1", "remainder 7"])
def test_a_plain_loop_gives_the_same_parameters(
    head: Any, size: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By epochs that are compiled, with the kernels for CPUs, and with the operations that serve every other device."""
    monkeypatch.setattr(kernels, "enabled", code != "operations")
    method, plain, params, adamw = head
    task, replicas = make_task(size), [Replica("v", params, seed) for seed in range(2)]
    run = trained(method, task, replicas, whole=code == "epochs")
    for i, replica in enumerate(replicas):
        module = plain(initial(method, task, replica), params)
        train_by_hand(module, task.supports[i], replica.rng("order"), adamw(module))
        assert_same(run.head.state(i), learned(module), 1e-5)
        with torch.no_grad():
            torch.testing.assert_close(run.logits(task.supports[i].x)[i], module(torch.from_numpy(task.supports[i].x)))


@pytest.mark.usefixtures("double")
def test_in_double_precision_nothing_is_left_of_the_difference(head: Any) -> None:
    method, plain, params, adamw = head
    task, replica = make_task(dtype=np.float64), Replica("v", params, 1)
    module = plain(initial(method, task, replica), params)
    train_by_hand(module, task.supports[1], replica.rng("order"), adamw(module))
    assert_same(trained(method, task, [replica]).head.state(0), learned(module), 1e-11)


def test_a_replica_in_company_is_what_it_is_alone(head: Any) -> None:
    """Company of other seeds, rates, decays and, where the head has one, ratios."""
    method, _, params, _ = head
    task = make_task(seeds=3)
    rates = [params | {"lr": lr, "weight_decay": decay} for lr, decay in [(1e-3, 0.01), (3e-3, 0.01), (1e-3, 0.1)]]
    ratios = [params | {"ratio": ratio} for ratio in (0.1, 0.7)] if "ratio" in params else []
    replicas = [Replica(str(i), p, seed) for i, p in enumerate(rates + ratios) for seed in range(3)]
    together = trained(method, task, replicas)
    for i, replica in enumerate(replicas):
        alone = trained(method, task, [replica])
        assert_same(together.head.state(i), alone.head.state(0), 3e-6)


def test_the_number_of_threads_does_not_matter(head: Any) -> None:
    method, _, params, _ = head
    states = []
    for threads in (1, 2):
        task = make_task(threads=threads)
        *_, last = method.fit(task, [Replica("v", params, seed) for seed in range(2)])
        states.append(last.logits(task.supports[0].x))
    torch.testing.assert_close(*states, rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_digits(head: Any) -> None:
    method, _, params, _ = head
    task, replicas = make_task(), [Replica("v", params, seed) for seed in range(2)]
    first, second = (trained(method, task, replicas) for _ in range(2))
    assert_same(first.head.state(1), second.head.state(1), 0.0)


def test_penalty_rates_of_parts_and_loose_parameters() -> None:
    method, params = Loose(), TRAINING | {"ratio": 0.5, "lr": 0.02}
    task, replicas = make_task(), [Replica("v", params, seed) for seed in range(2)]
    run = trained(method, task, replicas)
    for i, replica in enumerate(replicas):
        module = LooseByHand(initial(method, task, replica), params)
        groups = [{"params": module.chain.parameters()}, {"params": [module.residual], "lr": 0.2}]
        sgd = torch.optim.SGD(groups, lr=0.02, momentum=0.9, weight_decay=0.01)
        train_by_hand(module, task.supports[i], replica.rng("order"), sgd, penalty=LooseByHand.penalty)
        assert_same(run.head.state(i), learned(module), 1e-5)


class WithRecipe(LinearProbe):
    """A linear probe that follows the recipe it is given."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def recipe(self, task: Task, params: Params) -> Recipe:
        return self._recipe


class Tilted(LinearProbe):
    """With a part of the head, at a rate of its own, beside the BatchNorm and its linear layer."""

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {**super().head(nn, task, replica), "tilt": nn.Parameter(torch.zeros(1, task.classes))}

    def logits(self, head: Any, x: Array) -> Array:
        return head.classifier(x) + head.tilt

    def vjp(self, head: Any, x: Array) -> Any:
        logits, pull = super().vjp(head, x)
        return logits + head.tilt, lambda gradient: {**pull(gradient), "tilt": gradient.sum(1, keepdim=True)}

    def recipe(self, task: Task, params: Params) -> Recipe:
        return replace(super().recipe(task, params), rates={"tilt": 10.0})


class TiltedByHand(by_hand.LinearProbeByHand):
    def __init__(self, layers: Mapping[str, Any], params: Params) -> None:
        super().__init__({"classifier": layers["classifier"]}, params)
        self.tilt = layers["tilt"]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.tilt


def test_a_rate_for_one_part_beside_a_classifier_with_batch_norm() -> None:
    method, params = Tilted(), TRAINING | {"batch_norm": True, "lr": 0.01}
    task, replicas = make_task(), [Replica("v", params, seed) for seed in range(2)]
    run = trained(method, task, replicas)
    for i, replica in enumerate(replicas):
        module = TiltedByHand(initial(method, task, replica), params)
        groups = [{"params": module.classifier.parameters()}, {"params": [module.tilt], "lr": 0.1}]
        train_by_hand(module, task.supports[i], replica.rng("order"), torch.optim.AdamW(groups, lr=0.01))
        assert_same(run.head.state(i), learned(module), 1e-5)
        with torch.no_grad():
            torch.testing.assert_close(run.logits(task.supports[i].x)[i], module(torch.from_numpy(task.supports[i].x)))


def test_a_frozen_classifier_behind_a_batch_norm_that_learns() -> None:
    class Frozen(LinearProbe):
        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            layers = super().head(nn, task, replica)
            layers["classifier"][1].weight.requires_grad_(False)
            return layers

    method, task, replica = Frozen(), make_task(), Replica("v", TRAINING | {"batch_norm": True}, 1)
    module = by_hand.LinearProbeByHand(initial(method, task, replica), replica.params)
    train_by_hand(module, task.supports[1], replica.rng("order"), by_hand.adamw(module))
    assert_same(trained(method, task, [replica]).head.state(0), learned(module), 1e-5)


class Turned(TrainedMethod):
    """Whose gradient comes back to the BatchNorm by autograd, and transposed."""

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {"norm": nn.Sequential(nn.BatchNorm1d(task.dim)), "weight": nn.Parameter(torch.randn(K, task.dim) / 3)}

    def logits(self, head: Any, x: Array) -> Array:
        return (head.weight @ head.norm(x).mT).mT


class TurnedByHand(by_hand.Plain):
    def __init__(self, layers: Mapping[str, Any], params: Params) -> None:
        super().__init__()
        self.norm, self.weight = layers["norm"], layers["weight"]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) @ self.weight.T


def test_a_batch_norm_amid_autograd() -> None:
    method, task = Turned(), make_task()
    replicas = [Replica("v", TRAINING, seed) for seed in range(2)]
    run = trained(method, task, replicas)
    for i, replica in enumerate(replicas):
        module = TurnedByHand(initial(method, task, replica), {})
        train_by_hand(module, task.supports[i], replica.rng("order"), by_hand.adamw(module))
        assert_same(run.head.state(i), learned(module), 1e-5)


def test_a_batch_norm_amid_autograd_leaves_no_memory_behind() -> None:
    run = training.Run(Turned(), make_task(), [Replica("v", TRAINING, 0)])
    run.advance(1)
    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is Room for thing in gc.get_objects())
        run.advance(3)
        assert sum(type(thing) is Room for thing in gc.get_objects()) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("label", [-1, -100, K, 1000])
def test_labels_of_no_class_are_refused(label: int) -> None:
    task = make_task()
    task.supports[0].y[3] = label
    with pytest.raises(ValueError, match=rf"labels to train on go from .*{label}.*; there are classes 0 to 4"):
        training.Run(LinearProbe(), task, [Replica("v", TRAINING | {"batch_norm": True}, 0)])


def test_batches_of_one_image_are_refused_where_there_is_a_batch_norm() -> None:
    params = TRAINING | {"batch_size": 1}
    with pytest.raises(ValueError, match="BatchNorm can't learn from batches of one image; take a larger batch_size"):
        trained(LinearProbe(), make_task(), [Replica("v", params | {"batch_norm": True}, 0)])
    trained(LinearProbe(), make_task(), [Replica("v", params | {"batch_norm": False}, 0)])


def test_a_number_type_of_numpy_as_rate() -> None:
    class Rated(LinearProbe):
        def recipe(self, task: Task, params: Params) -> Recipe:
            return Recipe("adamw", np.float32(params["lr"]), 0.01, 3, 12)  # type: ignore[arg-type]

    params = TRAINING | {"batch_norm": True}
    replicas = [Replica(str(lr), params | {"lr": lr}, 0) for lr in (0.01, 0.03)]
    task = make_task()
    found, expected = (trained(method, task, replicas).head.state(1) for method in (Rated(), LinearProbe()))
    assert_same(found, expected, 1e-5)


def test_weights_of_both_precisions() -> None:
    class Mixed(Tilted):
        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            layers = super().head(nn, task, replica)
            return {**layers, "tilt": nn.Parameter(layers["tilt"].double())}

        def logits(self, head: Any, x: Array) -> Array:
            return head.classifier(x) + head.tilt.float()

        vjp = TrainedMethod.vjp

    task, replicas = make_task(), [Replica("v", TRAINING | {"batch_norm": True}, 0)]
    found, expected = (trained(method, task, replicas).head.state(0) for method in (Mixed(), Tilted()))
    assert_same({name: value.float() for name, value in found.items()}, expected, 1e-5)


def cosine(step: int, first: int, total: int) -> float:
    return (1 + np.cos(np.pi * (step - first) / (total - first))) / 2


RECIPES = {
    "adam": (Recipe("adam", 0.01, 0.02, 3, 12), lambda m: torch.optim.Adam(m, 0.01, weight_decay=0.02), None),
    "eps": (Recipe("adam", 0.01, 0, 3, 12, eps=1e-3), lambda m: torch.optim.Adam(m, 0.01, eps=1e-3), None),
    "sgd": (
        Recipe("sgd", 0.1, 0.02, 3, 12, momentum=0.8),
        lambda m: torch.optim.SGD(m, 0.1, momentum=0.8, weight_decay=0.02),
        None,
    ),
    "full batch": (Recipe("adamw", 0.01, 0.01, 3, 0), lambda m: torch.optim.AdamW(m, 0.01), None),
    "cosine": (
        Recipe("adamw", 0.01, 0.01, 3, 12, schedule="cosine"),
        lambda m: torch.optim.AdamW(m, 0.01),
        lambda step: cosine(step, 0, 12),
    ),
    "warm-up": (
        Recipe("adamw", 0.01, 0.01, 3, 12, schedule="cosine", warmup=5),
        lambda m: torch.optim.AdamW(m, 0.01),
        lambda step: (step + 1) / 5 if step < 5 else cosine(step, 5, 12),
    ),
    "cosine by epochs": (
        Recipe("adamw", 0.01, 0.01, 3, 12, schedule="epoch cosine", warmup_epochs=1, warmup_lr=1e-5),
        lambda m: torch.optim.AdamW(m, 0.01),
        lambda step: 1e-3 if step < 4 else cosine(step // 4 - 1, 0, 3),
    ),
    "an epoch at a rate of its own": (
        Recipe("adamw", 0.01, 0.01, 3, 12, warmup_epochs=1, warmup_lr=1e-5),
        lambda m: torch.optim.AdamW(m, 0.01),
        lambda step: 1e-3 if step < 4 else 1.0,
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_those_of_torch_optim(name: str) -> None:
    recipe, optimizer, factor = RECIPES[name]
    method, params = WithRecipe(recipe), {"batch_norm": True}
    task, replica = make_task(), Replica("v", params, 1)
    module = by_hand.LinearProbeByHand(initial(method, task, replica), params)
    order = replica.rng("order")
    train_by_hand(module, task.supports[1], order, optimizer(module.parameters()), 3, recipe.batch_size, factor)
    assert_same(trained(method, task, [replica]).head.state(0), learned(module), 1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_other_rates_beside_it_do_not_matter_to_a_replica(optimizer: str) -> None:
    class Rated(LinearProbe):
        def recipe(self, task: Task, params: Params) -> Recipe:
            return Recipe(optimizer, params["lr"], params["weight_decay"], 3, 12)

    method, params, task = Rated(), TRAINING | {"batch_norm": True}, make_task()
    replicas = [Replica(str(lr), params | {"lr": lr}, seed) for lr in (0.01, 0.03) for seed in range(2)]
    together = trained(method, task, replicas)
    for i, replica in enumerate(replicas):
        assert_same(together.head.state(i), trained(method, task, [replica]).head.state(0), 3e-6)


def test_one_candidate_per_epoch() -> None:
    method, replicas = LinearProbe(), [Replica("v", TRAINING | {"batch_norm": True}, seed) for seed in range(2)]
    points = [candidate.point for candidate in method.fit(make_task(), replicas)]
    assert points == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}]


def test_fewer_candidates_are_the_same_training_scored_less_often() -> None:
    method, task = LinearProbe(), make_task()
    replicas = [Replica("v", TRAINING | {"batch_norm": True, "epochs": 40}, seed) for seed in range(2)]
    queries = task.supports[0].x
    whole = {one.point["epoch"]: one.logits(queries).clone() for one in method.fit(task, replicas)}
    few = {one.point["epoch"]: one.logits(queries).clone() for one in method.fit(replace(task, curve=5), replicas)}
    assert list(whole) == list(range(1, 41))
    assert list(few) == [1, 3, 6, 16, 40]  # powers of 40 ** (1 / 4)
    assert all(torch.equal(logits, whole[epoch]) for epoch, logits in few.items())


@pytest.mark.parametrize(("curve", "total", "expected"), [(0, 3, {1, 2, 3}), (5, 3, {1, 2, 3}), (1, 30, {30})])
def test_which_points_are_scored(curve: int, total: int, expected: set[int]) -> None:
    assert replace(make_task(), curve=curve).scored(total) == expected


def test_no_more_points_are_scored_than_asked_for_and_always_the_last() -> None:
    for curve in range(1, 30):
        found = replace(make_task(), curve=curve).scored(400)
        assert len(found) <= curve
        assert max(found) == 400


def test_steps_in_place_of_epochs() -> None:
    """Ten steps of four to the epoch; candidates where they are asked for, and at the end."""
    method, task = WithRecipe(Recipe("adamw", 0.01, 0.01, 0, 12, steps=10, every=4)), make_task()
    replica = Replica("v", {"batch_norm": True}, 0)
    candidates = [(candidate.point, candidate.logits(task.supports[0].x)) for candidate in method.fit(task, [replica])]
    assert [point for point, _ in candidates] == [{"step": 4}, {"step": 8}, {"step": 10}]
    run = training.Run(method, task, [replica])
    for _ in range(10):
        run.advance(1)
    assert torch.equal(candidates[-1][1], run.logits(task.supports[0].x))


class TwoSources(LinearProbe):
    """Half of each batch from the support, half from the texts of the classes."""

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        return [task.supports[replica.seed], Support(task.class_text(), np.arange(K))]


def test_a_batch_holds_samples_of_every_source() -> None:
    method, task = TwoSources(), make_task(24)
    params = TRAINING | {"batch_norm": False, "batch_size": 3}
    replica = Replica("v", params, 1)
    module = by_hand.LinearProbeByHand(initial(method, task, replica), params)
    x, y = (torch.from_numpy(array) for array in (task.supports[1].x, task.supports[1].y))
    text, optimizer = torch.from_numpy(task.class_text()), by_hand.adamw(module)
    images, texts = replica.rng("order"), replica.rng("order1")
    text_rows = [rows for _ in range(12) for rows in by_hand.index_batches(texts.permutation(K), 3)]
    image_rows = [rows for _ in range(3) for rows in by_hand.index_batches(images.permutation(24), 3)]
    for a, b in zip(image_rows, text_rows, strict=True):
        loss = nn.functional.cross_entropy(module(torch.cat([x[a], text[b]])), torch.cat([y[a], b]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert_same(trained(method, task, [replica]).head.state(0), learned(module), 1e-5)


def test_chunks_give_what_one_group_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    method, task = LinearProbe(), make_task(seeds=5)
    replicas = [Replica("v", TRAINING | {"batch_norm": True}, seed) for seed in range(5)]
    queries = task.supports[0].x
    *_, whole = method.fit(task, replicas)
    together = whole.logits(queries)
    monkeypatch.setattr(training, "CPU_CHUNK", 20_000)
    last = {
        candidate.replicas[0].seed: (candidate, candidate.logits(queries)) for candidate in method.fit(task, replicas)
    }
    assert [len(candidate.replicas) for candidate, _ in last.values()] == [2, 3]
    torch.testing.assert_close(torch.cat([logits for _, logits in last.values()]), together)


def test_slices_of_queries_give_what_all_at_once_give(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    method, _, params, _ = head
    task, replicas = make_task(), [Replica("v", params, seed) for seed in range(2)]
    whole = trained(method, task, replicas).logits(task.supports[0].x)
    monkeypatch.setattr(training, "CPU_SLICE", 1)
    torch.testing.assert_close(trained(method, task, replicas).logits(task.supports[0].x), whole)


@pytest.mark.parametrize(
    ("size", "batch_size", "widths"),
    [
        (96, 32, [32, 32, 32]),
        (97, 32, [32, 32, 33]),
        (103, 32, [32, 32, 32, 7]),
        (5, 32, [5]),
        (33, 0, [33]),
        (33, 32, [33]),
    ],
)
def test_bounds_of_batches(size: int, batch_size: int, widths: list[int]) -> None:
    found = bounds(size, batch_size)
    assert [b - a for a, b in found] == widths
    assert (found[0][0], found[-1][1]) == (0, size)


def test_the_log_tells_epochs_loss_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    monkeypatch.setattr(training, "CPU_CHUNK", 6_000)
    lines: list[str] = []
    task = make_task()
    noisy = replace(task, log=lines.append)
    list(LinearProbe().fit(noisy, [Replica("v", TRAINING | {"batch_norm": True}, seed) for seed in range(2)]))
    assert lines[0] == "linear_probe: 2 trainings side by side in 2 chunks, on cpu"
    assert len(lines) == 7
    assert lines[1].startswith("  chunk 1/2, epoch 1/3, loss ")
    assert lines[-1].startswith("  chunk 2/2, epoch 3/3, loss ")
    assert lines[-1].endswith(" 0 s left")


def test_what_can_not_be_trained_side_by_side_is_refused() -> None:
    task = make_task()
    cut = Support(task.supports[1].x[:9], task.supports[1].y[:9])
    uneven = replace(task, supports={0: task.supports[0], 1: cut})
    replicas = [Replica("v", TRAINING | {"batch_norm": True}, seed) for seed in range(2)]
    with pytest.raises(ValueError, match="supports of different sizes"):
        list(LinearProbe().fit(uneven, replicas))
    with pytest.raises(ValueError, match="variant 'w', seed 1: its recipe differs"):
        training.Run(LinearProbe(), task, [replicas[0], Replica("w", replicas[1].params | {"epochs": 4}, 1)])
