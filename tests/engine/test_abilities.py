"""What a recipe can ask for: each replica is what a plain loop with PyTorch's own means gives, alone and in company."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import lr_scheduler, swa_utils

from methods import Array, Params, Recipe, Replica, Support, Task, TrainedMethod, unit
from methods.linear_probe import LinearProbe
from tests.engine import heads_by_hand as by_hand
from tests.engine.heads_by_hand import D, K, Plain, initial, learned, make_task, train_by_hand
from workflow.lib.engine import training

VIEWS = 3
BASE = Recipe("adamw", 1e-2, 0.01, 4, 12, eps=1e-4)


class Probe(LinearProbe):
    """A linear probe behind BatchNorm and dropout, by hand; it follows the recipe that it is given."""

    def __init__(self, recipe: Recipe, dropout: float = 0.0) -> None:
        self._recipe, self._dropout = recipe, dropout

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        drop = [nn.Dropout(self._dropout)] if self._dropout else []
        return {"classifier": nn.Sequential(*drop, nn.BatchNorm1d(task.dim), nn.Linear(task.dim, task.classes))}

    def recipe(self, task: Task, params: Params) -> Recipe:
        return replace(self._recipe, lr=params["lr"])


class Derived(Probe):
    """The same by autograd."""

    def vjp(self, head: Any, x: Array) -> None:
        return None


class Focal(Probe):
    """With a loss of its own, and a penalty; `vjp` is there and not asked."""

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array:
        own = logits.log_softmax(-1).gather(-1, labels[..., None])[..., 0]
        return (-((1 - own.exp()) ** 2) * own).mean(-1) + 0.1 * (x**2).mean((1, 2)) * (logits**2).mean((1, 2))

    def penalty(self, head: Any) -> Array:
        weight = head.classifier.weights["1.weight"]
        return 0.01 * weight.square().sum((1, 2))


def focal(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    own = logits.log_softmax(1)[torch.arange(len(y)), y]
    return (-((1 - own.exp()) ** 2) * own).mean() + 0.1 * (x**2).mean() * (logits**2).mean()


def entropy(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(logits, y)


def smoothed(logits: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(logits, y, label_smoothing=0.2)


def focal_penalty(module: Plain) -> Tensor:
    return 0.01 * (module.classifier[1].weight ** 2).sum()


def with_views(task: Task) -> Task:
    """Views around each image; the images themselves are of no use."""
    rng = np.random.default_rng(3)
    supports = {}
    for seed, support in task.supports.items():
        views = support.x[:, None] + 0.3 * rng.normal(size=(len(support.y), VIEWS, D))
        supports[seed] = Support(0 * support.x, support.y, views.astype(support.x.dtype))
    return replace(task, supports=supports)


@pytest.fixture(autouse=True, params=[torch.float32, torch.float64], ids=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> Iterator[float]:
    """In float64 nothing is left of a difference but rounding."""
    torch.set_num_threads(1)
    torch.set_default_dtype(request.param)
    yield {torch.float32: 2e-5, torch.float64: 1e-10}[request.param]
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def task(precision: float) -> Task:
    return with_views(make_task(seeds=3, dtype=np.float32 if precision > 1e-9 else np.float64))


def images(task: Task) -> Task:
    """The task as it is for whoever takes no views."""
    return replace(task, supports={seed: replace(one, x=one.views[:, 0]) for seed, one in task.supports.items()})


def trained(method: TrainedMethod, task: Task, replicas: Sequence[Replica], epochs: int = 4) -> training.Run:
    run = training.Run(method, task, replicas)
    for _ in range(epochs):
        run.advance(run.per_epoch)
    return run


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        error = (found[name] - value).abs().max() / value.abs().max().clamp_min(1e-2)
        assert error <= tolerance, f"{name} differs by {error:.1e}"


def noise(replica: Replica) -> int:
    return int(replica.rng("noise").integers(2**63))


# --- one loop by hand for each ability -------------------------------------------------------------------------------

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def straight(loss: Loss) -> by_hand.Loss:
    return lambda module, x, y: loss(module(x), x, y)


def mixed(loss: Loss, replica: Replica, alpha: float) -> by_hand.Loss:
    rng = replica.rng("mixup")

    def value(module: Plain, x: Tensor, y: Tensor) -> Tensor:
        share, order = rng.beta(alpha, alpha), rng.permutation(len(y))
        mixture = share * x + (1 - share) * x[order]
        logits = module(mixture)
        return share * loss(logits, mixture, y) + (1 - share) * loss(logits, mixture, y[order])

    return value


def by_views(choose: Callable[[Replica], Callable[[int, Tensor], Tensor]]) -> Callable[..., dict[str, Any]]:
    def options(task: Task, replica: Replica) -> dict[str, Any]:
        views, choice = torch.from_numpy(task.supports[replica.seed].views), choose(replica)
        return {"images": lambda epoch: choice(epoch, views)}

    return options


def drawn_views(replica: Replica) -> Callable[[int, Tensor], Tensor]:
    rng = replica.rng("views")
    return lambda epoch, views: views[torch.arange(len(views)), torch.from_numpy(rng.integers(VIEWS, size=len(views)))]


Options = Callable[[Task, Replica], dict[str, Any]]
ABILITIES: dict[str, tuple[Callable[[], TrainedMethod], Options]] = {
    "label smoothing": (
        lambda: Probe(replace(BASE, label_smoothing=0.2)),
        lambda task, r: {"loss": straight(smoothed)},
    ),
    "label smoothing, autograd": (
        lambda: Derived(replace(BASE, label_smoothing=0.2)),
        lambda task, r: {"loss": straight(smoothed)},
    ),
    "mixup": (lambda: Probe(replace(BASE, mixup=0.4)), lambda task, r: {"loss": mixed(entropy, r, 0.4)}),
    "mixup and label smoothing": (
        lambda: Derived(replace(BASE, mixup=1.5, label_smoothing=0.2)),
        lambda task, r: {"loss": mixed(smoothed, r, 1.5)},
    ),
    "own loss": (lambda: Focal(BASE), lambda task, r: {"loss": straight(focal), "penalty": focal_penalty}),
    "own loss and mixup": (
        lambda: Focal(replace(BASE, mixup=0.4)),
        lambda task, r: {"loss": mixed(focal, r, 0.4), "penalty": focal_penalty},
    ),
    "dropout": (lambda: Probe(BASE, dropout=0.3), lambda task, r: {"seed": noise(r)}),
    "dropout, autograd": (lambda: Derived(BASE, dropout=0.3), lambda task, r: {"seed": noise(r)}),
    "random views": (lambda: Probe(replace(BASE, views="random")), by_views(drawn_views)),
    "views in turn": (
        lambda: Probe(replace(BASE, views="in_turn")),
        by_views(lambda replica: lambda epoch, views: views[:, epoch % VIEWS]),
    ),
    "everything": (
        lambda: Probe(replace(BASE, mixup=0.4, label_smoothing=0.2, views="random", optimizer="sgd"), dropout=0.3),
        lambda task, r: (
            by_views(drawn_views)(task, r) | {"seed": noise(r), "loss": mixed(smoothed, r, 0.4), "sgd": True}
        ),
    ),
}


PARAMS = {"lr": 0.01}


def loop(method: TrainedMethod, task: Task, replica: Replica, options: dict[str, Any]) -> Plain:
    """The loop by hand."""
    module = by_hand.LinearProbeByHand(initial(method, task, replica), replica.params)
    torch.manual_seed(options.pop("seed", 0))
    lr = replica.params["lr"]
    if options.pop("sgd", False):
        optimizer: Any = torch.optim.SGD(module.parameters(), lr, momentum=0.9, weight_decay=0.01)
    else:
        optimizer = torch.optim.AdamW(module.parameters(), lr, weight_decay=0.01, eps=1e-4)
    train_by_hand(module, task.supports[replica.seed], replica.rng("order"), optimizer, 4, 12, **options)
    return module


@pytest.mark.parametrize("name", ABILITIES)
def test_a_plain_loop_learns_the_same(name: str, task: Task, precision: float) -> None:
    make, options = ABILITIES[name]
    at = task if "view" in name or name == "everything" else images(task)
    replicas = [Replica("v", PARAMS, seed) for seed in range(2)]
    run = trained(make(), at, replicas)
    for i, replica in enumerate(replicas):
        module = loop(make(), at, replica, options(at, replica))
        assert_same(run.head.state(i), learned(module), precision)
        with torch.no_grad():
            expected = module(torch.from_numpy(at.supports[i].x))
        torch.testing.assert_close(run.logits(at.supports[i].x)[i], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ABILITIES)
def test_a_replica_in_company_is_what_it_is_alone(name: str, task: Task, precision: float) -> None:
    method = ABILITIES[name][0]()
    replicas = [Replica(str(lr), {"lr": lr}, seed) for lr in (0.01, 0.03) for seed in range(3)]
    together = trained(method, task, replicas)
    for i, replica in enumerate(replicas):
        assert_same(together.head.state(i), trained(method, task, [replica]).head.state(0), precision)
    assert not torch.equal(together.logits(task.supports[0].views[:, 0])[0], together.logits(task.supports[0].x)[1])


@pytest.mark.parametrize("name", ["everything", "dropout", "own loss and mixup"])
def test_chunks_do_not_matter(name: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    method, queries = ABILITIES[name][0](), task.supports[0].views[:, 0]
    replicas = [Replica("v", PARAMS, seed) for seed in range(3)]
    *_, whole = method.fit(task, replicas)
    expected = dict(zip(whole.replicas, whole.logits(queries).clone(), strict=True))
    monkeypatch.setattr(training, "CPU_CHUNK", 6_000)
    last = [c for c in _scored(method, task, replicas, queries) if c[0].point == {"epoch": 4}]
    assert [len(candidate.replicas) for candidate, _ in last] == [1, 1, 1]
    for candidate, logits in last:
        torch.testing.assert_close(logits[0], expected[candidate.replicas[0]], rtol=1e-3, atol=1e-3)


def _scored(method: TrainedMethod, task: Task, who: Sequence[Replica], queries: Array) -> Iterator[Any]:
    for candidate in method.fit(task, who):
        yield candidate, candidate.logits(queries).clone()


@pytest.mark.parametrize("name", ABILITIES)
def test_each_ability_makes_a_difference(name: str, task: Task) -> None:
    """To the same head without it."""
    make, _ = ABILITIES[name]
    at, who = with_all(task), [Replica("v", PARAMS, 0)]
    found, expected = (trained(method, at, who).head.state(0) for method in (make(), Probe(BASE)))
    last = max(found), max(expected)
    assert not torch.allclose(found[last[0]], expected[last[1]], atol=1e-4)


def with_all(task: Task) -> Task:
    """Images and views."""
    return replace(task, supports={seed: replace(one, x=one.views.mean(1)) for seed, one in task.supports.items()})


# --- schedules -------------------------------------------------------------------------------------------------------

SCHEDULES: dict[str, tuple[dict[str, Any], Callable[[Any], Any]]] = {
    "linear": (
        {"schedule": "linear"},
        lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=16),
    ),
    "step": (
        {"schedule": "step", "milestones": (1, 3), "gamma": 0.2},
        lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [4, 12], 0.2),
    ),
    "step after a warm-up": (
        {"schedule": "step", "milestones": (2,), "warmup": 3},
        lambda optimizer: lr_scheduler.LambdaLR(
            optimizer, lambda step: (step + 1) / 3 if step < 3 else 0.1 ** (step >= 8)
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_torch(name: str, task: Task, precision: float) -> None:
    changes, make = SCHEDULES[name]
    at, replica, method = images(task), Replica("v", PARAMS, 1), Probe(replace(BASE, **changes))
    module = by_hand.LinearProbeByHand(initial(method, at, replica), {})
    optimizer = torch.optim.AdamW(module.parameters(), 0.01, weight_decay=0.01, eps=1e-4)
    schedule = make(optimizer)
    train_by_hand(module, at.supports[1], replica.rng("order"), optimizer, 4, 12, schedule=schedule)
    assert_same(trained(method, at, [replica]).head.state(0), learned(module), precision)


# --- a moving average ------------------------------------------------------------------------------------------------


def test_the_moving_average_is_that_of_torch(task: Task) -> None:
    """It classifies; the weights themselves go on from where they were, and scoring changes nothing."""
    at, method = images(task), Probe(replace(BASE, ema=0.8))
    replicas = [Replica("v", PARAMS, seed) for seed in range(2)]
    run, unscored, without = (training.Run(one, at, replicas) for one in (method, method, Probe(BASE)))
    for _ in range(4):
        run.advance(run.per_epoch)
        unscored.advance(run.per_epoch)
        without.advance(run.per_epoch)
        run.logits(at.supports[0].x)
    for i, replica in enumerate(replicas):
        module = by_hand.LinearProbeByHand(initial(method, at, replica), {})
        averaged = swa_utils.AveragedModel(module, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.8))
        optimizer = torch.optim.AdamW(module.parameters(), 0.01, weight_decay=0.01, eps=1e-4)
        train_by_hand(
            module,
            at.supports[i],
            replica.rng("order"),
            optimizer,
            4,
            12,
            after=lambda averaged=averaged, module=module: averaged.update_parameters(module),
        )
        assert_same(run.head.state(i), without.head.state(i), 0.0)
        with torch.no_grad():
            expected = averaged.eval()(torch.from_numpy(at.supports[i].x))
        torch.testing.assert_close(run.logits(at.supports[i].x)[i], expected, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(without.logits(at.supports[i].x)[i], expected, rtol=1e-2, atol=1e-2)
    assert torch.equal(run.logits(at.supports[0].x), unscored.logits(at.supports[0].x))


# --- L-BFGS ----------------------------------------------------------------------------------------------------------


class Logistic(TrainedMethod):
    """Logistic regression, whose minimum is the only one."""

    name = "logistic"

    def __init__(self, decay: float = 0.05, **changes: Any) -> None:
        self._recipe = Recipe("lbfgs", 1.0, decay, 60, 0, **changes)

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {"linear": nn.Linear(task.dim, task.classes)}

    def logits(self, head: Any, x: Array) -> Array:
        return head.linear(x)

    def recipe(self, task: Task, params: Params) -> Recipe:
        return self._recipe


class LogisticByHand(Plain):
    def __init__(self, layers: Mapping[str, Any]) -> None:
        super().__init__()
        self.linear = layers["linear"]

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_lbfgs_goes_the_way_of_torch(task: Task, precision: float, smoothing: float) -> None:
    """The first iterations one by one; each replica alone and beside others."""
    at, method = images(task), Logistic(label_smoothing=smoothing)
    replicas = [Replica("v", {}, seed) for seed in range(2)]
    found = {
        (candidate.replicas[0].seed, candidate.point["epoch"]): candidate.logits(at.supports[0].x)[0].clone()
        for candidate in method.fit(at, replicas)
    }
    assert len(found) == 120
    tolerance = 1e-6 if precision < 1e-9 else 1e-2
    for replica in replicas:
        module = LogisticByHand(initial(method, at, replica))
        for epoch, logits in enumerate(searched(module, at, replica.seed, smoothing), 1):
            if epoch < 10 or epoch == 60:
                torch.testing.assert_close(found[replica.seed, epoch], logits, rtol=tolerance, atol=tolerance)


def searched(module: Plain, at: Task, seed: int, smoothing: float) -> Iterator[Tensor]:
    """Logits for the images of seed 0 after each of 60 iterations."""
    x, y = torch.from_numpy(at.supports[seed].x), torch.from_numpy(at.supports[seed].y)
    options = {"max_eval": 26, "history_size": 10, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS(module.parameters(), 1.0, max_iter=1, **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(module(x), y, label_smoothing=smoothing)
        value = value + 0.05 / 2 * sum((weight**2).sum() for weight in module.parameters())
        value.backward()
        return value

    for _ in range(60):
        optimizer.step(closure)
        with torch.no_grad():
            yield module(torch.from_numpy(at.supports[0].x))


def test_lbfgs_finds_the_minimum_that_scikit_learn_finds(task: Task) -> None:
    from sklearn.linear_model import LogisticRegression

    at = images(task)
    support, decay = at.supports[0], 0.05
    # The bias is not left out of the decay: it is one more weight, of an input that is 1.
    x = np.hstack([support.x, np.ones((len(support.y), 1), support.x.dtype)])
    model = LogisticRegression(C=1 / (decay * len(x)), fit_intercept=False, tol=1e-8, max_iter=10000).fit(x, support.y)
    *_, last = Logistic(decay).fit(at, [Replica("v", {}, 0)])
    np.testing.assert_allclose(last.logits(support.x)[0], model.decision_function(x), atol=5e-3)


def test_lbfgs_takes_a_loss_of_the_methods_own_and_a_penalty(task: Task) -> None:
    class Square(Logistic):
        def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array:
            return (logits - functional.one_hot(labels, K)).square().sum(-1).mean(-1)

        def penalty(self, head: Any) -> Array:
            return 0.1 * head.linear.weight.square().sum((1, 2))

    at = images(task)
    support = at.supports[0]
    *_, last = Square(decay=0.0).fit(at, [Replica("v", {}, 0)])
    x, target = support.x.astype(float), np.eye(K)[support.y]
    centre = x.mean(0)
    gram = (x - centre).T @ (x - centre) / len(x) + 0.1 * np.eye(D)
    weight = np.linalg.solve(gram, (x - centre).T @ (target - target.mean(0)) / len(x))
    np.testing.assert_allclose(last.logits(support.x)[0], (x - centre) @ weight + target.mean(0), atol=1e-3)


def test_lbfgs_is_not_for_a_loss_with_random_numbers(task: Task) -> None:
    class Dropped(Logistic):
        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            return {"linear": nn.Sequential(nn.Dropout(0.5), nn.Linear(task.dim, task.classes))}

    with pytest.raises(ValueError, match="lbfgs minimises one loss at a time, and one without random numbers: no drop"):
        list(Dropped().fit(images(task), [Replica("v", {}, 0)]))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_rate_of_what_is_no_part_is_refused(task: Task) -> None:
    for part, hint in {"clasifier": "; did you mean 'classifier'?", "lr": ""}.items():
        with pytest.raises(ValueError, match="a recipe's rates: found") as caught:
            training.Run(Probe(replace(BASE, rates={part: 2.0})), images(task), [Replica("v", PARAMS, 0)])
        assert str(caught.value) == (
            f"a recipe's rates: found '{part}', allowed: the parts that learn, classifier{hint}"
        )


def test_views_that_are_not_there_are_asked_for(task: Task) -> None:
    bare = replace(task, supports={seed: replace(one, views=None) for seed, one in task.supports.items()})
    with pytest.raises(ValueError, match="there are no views of the images: the method must name `views` in its needs"):
        training.Run(Probe(replace(BASE, views="random")), bare, [Replica("v", PARAMS, 0)])


def test_label_smoothing_of_a_loss_of_ones_own_is_refused(task: Task) -> None:
    with pytest.raises(ValueError, match="label smoothing belongs to the cross-entropy, and this method has a loss of"):
        trained(Focal(replace(BASE, label_smoothing=0.1)), images(task), [Replica("v", PARAMS, 0)])


def test_a_loss_of_the_wrong_shape_is_refused(task: Task) -> None:
    class Summed(Probe):
        def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array:
            return logits.mean()

    with pytest.raises(ValueError, match=r"`loss` has to give a number for each of the 1 replicas, \(1,\); found \(\)"):
        trained(Summed(BASE), images(task), [Replica("v", PARAMS, 0)])


def test_a_weight_on_which_nothing_depends_is_named(task: Task) -> None:
    class Idle(Derived):
        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            return {**super().head(nn, task, replica), "spare": nn.Parameter(torch.zeros(3))}

    with pytest.raises(ValueError, match="nothing that is trained on depends on spare: leave it out"):
        trained(Idle(BASE), images(task), [Replica("v", PARAMS, 0)])


def test_the_log_tells_the_loss_that_is_trained_on(task: Task) -> None:
    at, who = images(task), [Replica("v", PARAMS, 0)]
    run = training.Run(Focal(replace(BASE, lr=1e-9, batch_size=0)), at, [replace(who[0], params={"lr": 1e-9})])
    run.advance(1)
    module = by_hand.LinearProbeByHand(initial(Focal(BASE), at, who[0]), {}).train()
    x, y = torch.from_numpy(at.supports[0].x), torch.from_numpy(at.supports[0].y)
    assert run.loss() == pytest.approx(focal(module(x), x, y).item(), rel=1e-4)
    smooth = training.Run(Probe(replace(BASE, batch_size=0, label_smoothing=0.2)), at, who)
    smooth.advance(1)
    assert smooth.loss() == pytest.approx(smoothed(module(x), x, y).item(), rel=1e-4)


class TextsBeside(Probe):
    """Texts have no views: they are a source as they are."""

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        return [task.supports[replica.seed], Support(unit(task.class_text()), np.arange(K))]


def test_a_source_without_views_stays_as_it_is(task: Task) -> None:
    run = training.Run(TextsBeside(replace(BASE, views="random", batch_size=0)), task, [Replica("v", PARAMS, 0)])
    x, y = next(run.batches)
    support = task.supports[0]
    for row, label in zip(x[0], y[0], strict=True):
        texts = np.abs(unit(task.class_text())[label] - row.numpy()).max() < 1e-6
        of_views = np.abs(support.views[support.y == int(label)] - row.numpy()).max(-1).min() == 0
        assert texts or of_views
