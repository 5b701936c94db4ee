"""Any `nn.Module` is a layer: each replica is what PyTorch makes of it alone, random numbers included."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from methods import Array, Recipe, Replica, Support, Task, TrainedMethod
from tests.engine import heads_by_hand as by_hand
from tests.engine.heads_by_hand import K, initial, learned, make_task, train_by_hand
from workflow.lib.engine import layers, training
from workflow.lib.engine.modules import Modules
from workflow.lib.engine.noise import Noise

R, B, L, WIDE = 3, 5, 4, 8
REPLICAS = [Replica("v", {}, seed) for seed in range(R)]


class Branching(nn.Module):
    """Looks at its numbers, which vmap can't follow."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDE, WIDE)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return x if x.sum() > 0 else 2 * x


class Remembering(nn.Module):
    """Puts a new buffer in the place of the old one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDE))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().flatten(0, -2).mean(0)
        return x - self.mean


class Pair(nn.Module):
    """A sum of two arguments, one of them by name, beside something that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(WIDE, WIDE, 3)

    def forward(self, x: Tensor, *, other: Tensor) -> tuple[Tensor, None]:
        return self.bilinear(x, other), None


def deep(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(WIDE, 2, 16, batch_first=True, **options)


def random_bits(kind: type[nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(WIDE, 6), kind(0.3), nn.Linear(6, 2))


def itself(layer: Any, x: Tensor) -> Tensor:
    return layer(x)


def attention(layer: Any, x: Tensor) -> Tensor:
    return layer(x, x, x)[0]


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Tensor], Tensor]]] = {
    "attention": (lambda: nn.MultiheadAttention(WIDE, 2, batch_first=True), attention),
    "attention with dropout": (lambda: nn.MultiheadAttention(WIDE, 2, 0.2, batch_first=True), attention),
    "transformer": (lambda: deep(dropout=0.0), itself),
    "transformer with dropout": (deep, itself),
    "weight_norm": (lambda: parametrizations.weight_norm(nn.Linear(WIDE, 3)), itself),
    "weight_norm of old": (lambda: nn.utils.weight_norm(nn.Linear(WIDE, 3)), itself),
    "spectral_norm": (lambda: parametrizations.spectral_norm(nn.Linear(WIDE, 3)), itself),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(WIDE, 3)), itself),
    "LSTM": (lambda: nn.LSTM(WIDE, 3, batch_first=True), lambda layer, x: layer(x.flatten(-3, -2))[0]),
    "LayerNorm": (lambda: nn.LayerNorm(WIDE), itself),
    "GroupNorm": (lambda: nn.GroupNorm(2, L), itself),
    "Softmax": (lambda: nn.Softmax(-1), itself),
    "MaxPool1d": (lambda: nn.MaxPool1d(2), itself),
    "Conv1d": (lambda: nn.Conv1d(L, 2, 3), itself),
    "Bilinear": (lambda: nn.Bilinear(WIDE, WIDE, 3), lambda layer, x: layer(x, x.flip(-1))),
    "two arguments": (Pair, lambda layer, x: layer(x, other=x.flip(-1))[0]),
    "Dropout": (random_bits(nn.Dropout), itself),
    "AlphaDropout": (random_bits(nn.AlphaDropout), itself),
    "Dropout1d": (random_bits(nn.Dropout1d), itself),
    "RReLU": (lambda: nn.Sequential(nn.Linear(WIDE, 6), nn.RReLU()), itself),
    "BatchNorm without a momentum": (
        lambda: nn.BatchNorm1d(WIDE, momentum=None),
        lambda layer, x: layer(x.flatten(-3, -2)),
    ),
    "BatchNorm without weights": (
        lambda: nn.BatchNorm1d(WIDE, affine=False),
        lambda layer, x: layer(x.flatten(-3, -2)),
    ),
    "InstanceNorm": (lambda: nn.InstanceNorm1d(L, affine=True, track_running_stats=True), itself),
    "branches": (Branching, itself),
    "buffers": (Remembering, itself),
    "nothing": (nn.Sequential, itself),
}
DRAWS = {"attention with dropout", "transformer with dropout", "Dropout", "AlphaDropout", "Dropout1d", "RReLU"}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.nn.utils.weight_norm` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield
    torch.set_default_dtype(torch.float32)


def seed_of_noise(replica: Replica) -> int:
    return int(replica.rng("noise").integers(2**63))


@pytest.mark.parametrize("name", KINDS)
def test_each_replica_is_the_module_alone(name: str) -> None:
    """Two steps of training, whose random numbers go on, then scoring; outputs, gradients and buffers."""
    make, use = KINDS[name]
    singles = [make() for _ in range(R)]
    noise = Noise(REPLICAS, "cpu")
    layer = layers.stack(singles, noise)
    x = torch.randn(2, R, B, L, WIDE, requires_grad=True)
    outputs = [use(layer, batch) for batch in x]
    upstream = torch.randn_like(outputs[0])
    leaves = [x, *layer.weights.values()]
    found = torch.autograd.grad([(out * upstream).sum() for out in outputs], leaves)
    assert noise.drawn == (name in DRAWS)
    layer.training = False
    with torch.no_grad():
        scored = use(layer, x[0])
    for i, single in enumerate(singles):
        single.train()
        torch.manual_seed(seed_of_noise(REPLICAS[i]))
        own = x.detach()[:, i].requires_grad_()
        expected = [use(single, batch) for batch in own]
        for out, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(out[i], wanted)
        trained = dict(single.named_parameters())
        gradients = torch.autograd.grad([(out * upstream[i]).sum() for out in expected], [own, *trained.values()])
        torch.testing.assert_close(found[0][:, i], gradients[0])
        by_name = dict(zip(layer.weights, found[1:], strict=True))
        for weight, gradient in zip(trained, gradients[1:], strict=True):
            turned = by_name[weight][i].mT if by_name[weight][i].shape != gradient.shape else by_name[weight][i]
            torch.testing.assert_close(turned.reshape(gradient.shape), gradient)
        with torch.no_grad():
            torch.testing.assert_close(scored[i], use(single.eval(), x[0, i]))
        state = layer.state(i)
        assert set(state) == {key for key in single.state_dict() if "num_batches" not in key}
        for key, value in state.items():
            torch.testing.assert_close(value.detach(), single.state_dict()[key])


def test_what_vmap_can_do_runs_side_by_side() -> None:
    """It is called once for all replicas; what can't, once for each."""
    calls: list[int] = []

    class Counting(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(1)
            return super().forward(x)

    layer = layers.stack([Counting(WIDE) for _ in range(R)], Noise(REPLICAS, "cpu"))
    layer(torch.randn(R, B, WIDE))
    layer(torch.randn(R, B, WIDE))
    assert len(calls) == 2


def test_scoring_takes_no_random_numbers_from_training() -> None:
    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.randn_like(x)

    first, second = (layers.stack([Noisy()], Noise(REPLICAS[:1], "cpu")) for _ in range(2))
    x = torch.zeros(1, B, WIDE)
    first(x), second(x)
    second.training = False
    second(x)
    second.training = True
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("own", [True, False], ids=["own batches", "a shared batch"])
def test_dropout_drops_other_numbers_in_each_replica_each_with_its_own_probability(own: bool) -> None:
    chances = [0.0, 0.2, 0.7, 1.0]
    noise = Noise([Replica("v", {}, seed) for seed in range(4)], "cpu")
    layer = layers.stack([nn.Dropout(p) for p in chances], noise)
    out = layer(torch.ones(4, 200, WIDE) if own else torch.ones(200, WIDE))
    for kept, p in zip(out, chances, strict=True):
        assert float((kept == 0).double().mean()) == pytest.approx(p, abs=0.05)
        torch.testing.assert_close(kept[kept != 0], torch.full_like(kept[kept != 0], 1 / (1 - p) if p < 1 else 0))
    assert not torch.equal(out[1] == 0, out[2] == 0)


@pytest.mark.parametrize("inputs", [True, False])
def test_gradients_by_hand_through_dropout_and_any_module(inputs: bool) -> None:
    singles = [nn.Sequential(nn.Dropout(0.5), nn.LayerNorm(WIDE), nn.Linear(WIDE, K)) for _ in range(R)]
    layer, x, upstream = layers.stack(singles, Noise(REPLICAS, "cpu")), torch.randn(R, B, WIDE), torch.randn(R, B, K)
    with torch.no_grad():
        out, pull = layer.vjp(x)  # type: ignore[attr-defined]
        for_x, found = pull(upstream, inputs=inputs)
    assert (for_x is not None) == inputs
    for i, single in enumerate(singles):
        torch.manual_seed(seed_of_noise(REPLICAS[i]))
        own = x[i].clone().requires_grad_()
        expected = single(own)
        expected.backward(upstream[i])
        torch.testing.assert_close(out[i], expected)
        torch.testing.assert_close(found["1.weight"][i], single[1].weight.grad)
        torch.testing.assert_close(found["2.weight"][i], single[2].weight.grad.mT)
        if inputs:
            torch.testing.assert_close(for_x[i], own.grad)


class Uneven(nn.Module):
    widths = iter([2, 3])

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(WIDE, next(self.widths))


def test_modules_that_can_not_be_layers_are_refused_by_name() -> None:
    noise = Noise(REPLICAS[:2], "cpu")
    with pytest.raises(ValueError, match="LazyLinear can't be a layer of a head: it has no sizes before it is called"):
        layers.stack([nn.LazyLinear(3), nn.LazyLinear(3)], noise)
    with pytest.raises(ValueError, match=r"Uneven can't be .*: the replicas' weights differ in shape"):
        layers.stack([Uneven(), Uneven()], noise)
    with pytest.raises(ValueError, match=r"ModuleList can't be a layer of a head: .*forward"):
        layers.stack([nn.ModuleList([nn.Linear(2, 2)]) for _ in range(2)], noise)(torch.randn(2, B, 2))
    with pytest.raises(ValueError, match=r"MultiheadAttention can't be a layer of a head: .*'key' and 'value'"):
        layers.stack([nn.MultiheadAttention(WIDE, 2) for _ in range(2)], noise)(torch.randn(2, B, WIDE))
    with pytest.raises(ValueError, match=r"LayerNorm can't be .* called with \(7, 1, 8\).* first is that of the 2 rep"):
        layers.stack([nn.LayerNorm(WIDE) for _ in range(2)], noise)(torch.randn(7, 1, WIDE))


def test_lack_of_memory_is_not_taken_for_a_module_that_can_not() -> None:
    class Full(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("CUDA error: out of memory")

    layer = Modules([Full()], Noise(REPLICAS[:1], "cpu"))
    with pytest.raises(RuntimeError, match=r"^CUDA error: out of memory$"):
        layer(torch.randn(1, B, WIDE))


class OverTexts(TrainedMethod):
    """Image and class texts as the tokens of a transformer with dropout: the logits are what it makes of the texts."""

    name = "over_texts"

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {
            "mix": nn.TransformerEncoderLayer(task.dim, 2, 16, dropout=0.2, batch_first=True),
            "drop": nn.Dropout(0.3),
            "out": parametrizations.weight_norm(nn.Linear(task.dim, 1)),
            "text": task.class_text(),
        }

    def logits(self, head: Any, x: Array) -> Array:
        text = head.text.expand(*x.shape[:-1], *head.text.shape)
        tokens = torch.cat([head.drop(x)[..., None, :], text], -2)
        return head.out(head.mix(tokens))[..., 1:, 0]

    def recipe(self, task: Task, params: Any) -> Recipe:
        return Recipe("adamw", 1e-3, 0.01, 3, 12)


class OverTextsByHand(by_hand.Plain):
    def __init__(self, made: Mapping[str, Any]) -> None:
        super().__init__()
        self.mix, self.drop, self.out = made["mix"], made["drop"], made["out"]
        self.text = torch.as_tensor(made["text"])

    def forward(self, x: Tensor) -> Tensor:
        text = self.text.expand(len(x), *self.text.shape)
        return self.out(self.mix(torch.cat([self.drop(x)[:, None], text], 1)))[:, 1:, 0]


@pytest.mark.parametrize("wrapped", [False, True], ids=["linear", "chain"])
def test_as_many_queries_as_replicas_are_not_taken_for_them(wrapped: bool) -> None:
    """By a layer that is called with tokens, `(R, B, L, D)`."""

    class Tokens(OverTexts):
        def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
            linear = nn.Linear(task.dim, K)
            return {"linear": nn.Sequential(linear, nn.Tanh()) if wrapped else linear}

        def logits(self, head: Any, x: Array) -> Array:
            return head.linear(torch.stack([x, -x], -2)).square().mean(-2)

    task = make_task(dtype=float, seeds=2)
    run = training.Run(Tokens(), task, [Replica("v", {}, seed) for seed in range(2)])
    run.advance(2)
    queries = task.supports[0].x
    torch.testing.assert_close(run.logits(queries[:2]).clone(), run.logits(queries)[:, :2])


def test_a_head_of_such_modules_learns_what_a_plain_loop_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many queries as replicas are scored as well: they can be taken for each other."""
    task, method = make_task(dtype=float, seeds=2), OverTexts()
    replicas = [Replica("v", {}, seed) for seed in range(2)]
    run = training.Run(method, task, replicas)
    for _ in range(3 * run.per_epoch):
        run.advance(1)
    for i, replica in enumerate(replicas):
        support: Support = task.supports[i]
        module = OverTextsByHand(initial(method, task, replica))
        torch.manual_seed(seed_of_noise(replica))
        train_by_hand(module, support, replica.rng("order"), by_hand.adamw(module))
        for name, value in learned(module).items():
            torch.testing.assert_close(run.head.state(i)[name].detach(), value, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            expected = module(torch.from_numpy(support.x))
        for queries in (43, 2):
            found = run.logits(support.x[:queries])[i].double()
            torch.testing.assert_close(found, expected[:queries], rtol=1e-5, atol=1e-5)


class OfOneModel(nn.Module):
    """A layer of a model, whose weight all share, and a bias of one's own."""

    shared = ("model.weight", "mean")

    def __init__(self, model: nn.Linear, mean: Tensor) -> None:
        super().__init__()
        self.model, self.bias = model, nn.Parameter(torch.randn(3))
        self.register_buffer("mean", mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x - self.mean) + self.bias


def shared_modules() -> tuple[nn.Linear, Tensor, list[OfOneModel]]:
    model, mean = nn.Linear(WIDE, 3, bias=False).requires_grad_(False), torch.randn(WIDE)
    return model, mean, [OfOneModel(model, mean) for _ in range(R)]


def test_what_modules_share_is_there_once_and_gives_what_each_gives_alone() -> None:
    model, _, singles = shared_modules()
    layer = Modules(singles, Noise(REPLICAS, "cpu"))
    assert {name: weight.shape for name, weight in layer.weights.items()} == {"bias": (R, 3)}
    assert layer.state(1).keys() == {"bias"}
    x = torch.randn(R, B, WIDE)
    expected = torch.stack([single(own) for single, own in zip(singles, x, strict=True)])
    assert torch.equal(layer(x), expected)  # one after the other on a CPU: to the bit
    (gradient,) = torch.autograd.grad(layer(x).sum(), list(layer.weights.values()))
    assert torch.equal(gradient, torch.full((R, 3), float(B)))
    model.weight.zero_()
    assert torch.equal(layer(x), layer.weights["bias"][:, None].expand(-1, B, -1))


def test_how_far_weights_have_moved_is_known_of_each_replica() -> None:
    _, _, singles = shared_modules()
    layer = Modules(singles, Noise(REPLICAS, "cpu"))
    assert torch.equal(layer.moved(), torch.zeros(R))
    with torch.no_grad():
        layer.weights["bias"] += torch.tensor([[0.0], [1.0], [2.0]])
    torch.testing.assert_close(layer.moved(), torch.tensor([0.0, 3.0, 12.0]))
    (gradient,) = torch.autograd.grad(layer.moved().sum(), list(layer.weights.values()))
    torch.testing.assert_close(gradient, torch.tensor([0.0, 2.0, 4.0])[:, None].expand(-1, 3))
