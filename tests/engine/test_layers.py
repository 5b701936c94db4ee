"""Stacked layers: each replica is what the ordinary layer is, forward, backward and when it scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from methods import Replica
from workflow.lib.engine import layers
from workflow.lib.engine.batch_norm import BatchNorm, batch_mean, batch_sum
from workflow.lib.engine.layers import Layer
from workflow.lib.engine.noise import Noise

R, B, D, K = 3, 9, 6, 4


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """float64, so that a wrong term can't hide behind rounding."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def batch_norm() -> nn.Module:
    """With weights and statistics that are not those of the start."""
    layer = nn.BatchNorm1d(D)
    for tensor in (layer.weight, layer.bias, layer.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(layer.running_var, 0.5, 2)
    return layer


KINDS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(D, K),
    "linear without bias": lambda: nn.Linear(D, K, bias=False),
    "batch norm": batch_norm,
    "pair": lambda: nn.Sequential(batch_norm(), nn.Linear(D, K)),
    "pair without bias": lambda: nn.Sequential(batch_norm(), nn.Linear(D, K, bias=False)),
    "pair in a chain": lambda: nn.Sequential(nn.Linear(D, D), nn.Tanh(), batch_norm(), nn.Identity(), nn.Linear(D, K)),
    "unknown": lambda: nn.Sequential(nn.LayerNorm(D), nn.PReLU(D), nn.Linear(D, K)),
}


@pytest.fixture(params=KINDS, ids=str)
def singles(request: pytest.FixtureRequest) -> list[nn.Module]:
    """One ordinary layer for each replica."""
    return [KINDS[request.param]() for _ in range(R)]


def stack(singles: list[nn.Module]) -> Layer:
    """Of replicas with the seeds 0, 1, …"""
    return layers.stack(singles, Noise([Replica("v", {}, seed) for seed in range(len(singles))], "cpu"))


def parameters(layer: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in layer.state_dict().items() if "num_batches" not in name}


def assert_same_state(stacked: Layer, singles: list[nn.Module]) -> None:
    for i, single in enumerate(singles):
        expected = parameters(single)
        found = stacked.state(i)
        assert set(found) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name].detach(), value)


def test_state_is_that_of_the_ordinary_layers(singles: list[nn.Module]) -> None:
    assert_same_state(stack(singles), singles)


@pytest.mark.parametrize("needs_gradient", [True, False], ids=["inner", "first"])
def test_training_forward_backward_and_statistics(singles: list[nn.Module], needs_gradient: bool) -> None:
    stacked, x = stack(singles), torch.randn(R, B, D, requires_grad=needs_gradient)
    out = stacked(x)
    upstream = torch.randn_like(out)
    weights = {name: weight.detach().clone() for name, weight in stacked.weights.items()}
    leaves = {**({"x": x} if needs_gradient else {}), **stacked.weights}
    found = dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), upstream), strict=True))
    for i, single in enumerate(singles):
        own = x[i].detach().requires_grad_()
        expected = single(own)
        torch.testing.assert_close(out[i], expected)
        expected.backward(upstream[i])
        for name, parameter in single.named_parameters():
            turned = parameter.dim() == 2 and torch.equal(weights[name][i], parameter.detach().T)
            gradient = parameter.grad.T if turned else parameter.grad.reshape(weights[name][i].shape)
            torch.testing.assert_close(found[name][i], gradient)
        if needs_gradient:
            torch.testing.assert_close(found["x"][i], own.grad)
    assert_same_state(stacked, singles)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["kernels", "operations"])
@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("kind", ["pair", "pair without bias", "pair in a chain"])
def test_gradients_by_hand_are_tensors_that_one_can_work_with(kind: str, inputs: bool, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    singles = [KINDS[kind]() for _ in range(R)]
    stacked, x, upstream = stack(singles), torch.randn(R, B, D), torch.randn(R, B, K)
    with torch.no_grad():
        _, pull = stacked.vjp(x)
        for_x, found = pull(upstream, inputs=inputs)
        sums = {name: (2 * found[name]).sum((1, 2)) for name in stacked.weights}
    assert (for_x is not None) == inputs
    for i, single in enumerate(singles):
        single(x[i]).backward(upstream[i])
        for name, parameter in single.named_parameters():
            torch.testing.assert_close(sums[name][i], 2 * parameter.grad.sum(), rtol=1e-3, atol=1e-3)


def test_scoring_uses_the_running_statistics(singles: list[nn.Module]) -> None:
    stacked, queries = stack(singles), torch.randn(20, D)
    stacked.training = False
    with torch.no_grad():
        out = stacked(queries)
        for i, single in enumerate(singles):
            torch.testing.assert_close(out[i], single.eval()(queries))
    assert_same_state(stacked, singles)


def test_scoring_sees_what_was_trained_since(singles: list[nn.Module]) -> None:
    stacked, queries = stack(singles), torch.randn(20, D)
    stacked.training = False
    with torch.no_grad():
        before = stacked(queries).clone()
        for weight in stacked.weights.values():
            weight += 1
    stacked.training = True
    stacked.training = False
    with torch.no_grad():
        assert not torch.allclose(before, stacked(queries))


def test_a_pair_may_be_called_twice_in_a_step() -> None:
    """Its buffers hold one call: the second must not take those of the first."""
    single = KINDS["pair"]()
    stacked = stack([single])
    x, y = torch.randn(1, B, D), torch.randn(1, B, D)
    found = torch.autograd.grad((stacked(x) * stacked(y)).sum(), list(stacked.weights.values()))
    (single(x[0]) * single(y[0])).sum().backward()
    torch.testing.assert_close(found[2][0], single[1].weight.grad)


def test_a_batch_shared_by_all_replicas() -> None:
    """As the class texts are: `(M, D)` in, with gradients of the parameters and of the batch."""
    singles = [batch_norm() for _ in range(R)]
    stacked, text = stack(singles), torch.randn(B, D, requires_grad=True)
    out = stacked(text)
    upstream = torch.randn_like(out)
    (found,) = torch.autograd.grad(out, text, upstream)
    expected = sum(torch.autograd.grad(single(text), text, upstream[i])[0] for i, single in enumerate(singles))
    torch.testing.assert_close(found, expected)
    assert_same_state(stacked, singles)


def test_gradients_of_one_pass_outlive_the_next() -> None:
    """As where a batch beside the main one adds to the loss."""
    singles = [batch_norm() for _ in range(R)]
    stacked, x, aside = BatchNorm(singles), torch.randn(R, B, D), torch.randn(1, B, D)
    upstream = torch.randn(R, B, D)
    with torch.no_grad():
        found = [stacked.vjp(batch)[1](upstream)[1] for batch in (aside, x)]
    for i, single in enumerate(singles):
        for batch, gradients in zip((aside[0], x[i]), found, strict=True):
            expected = torch.autograd.grad(single(batch), [single.weight, single.bias], upstream[i])
            torch.testing.assert_close((gradients["weight"][i, 0], gradients["bias"][i, 0]), expected)


@pytest.mark.parametrize("replicas", [R, 1], ids=["own batches", "a shared batch"])
def test_gradients_of_the_normalisation_against_differences(replicas: int) -> None:
    x = torch.randn(replicas, B, D, requires_grad=True)
    layer = BatchNorm([nn.BatchNorm1d(D) for _ in range(R)])
    weight, bias = (torch.randn(R, 1, D, requires_grad=True) for _ in range(2))

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        layer.weight, layer.bias = weight, bias
        return layer(x)

    assert torch.autograd.gradcheck(run, (x, weight, bias))


def test_batch_mean() -> None:
    x = torch.randn(R, B, D)
    torch.testing.assert_close(batch_mean(x), x.mean(1, keepdim=True))
    out = torch.empty(R, 1, D)
    batch_sum(x, out)
    torch.testing.assert_close(out, x.sum(1, keepdim=True))


def test_frozen_weights_stay_out_of_training() -> None:
    singles = [nn.Linear(D, K).requires_grad_(False) for _ in range(R)]
    assert not any(weight.requires_grad for weight in stack(singles).weights.values())


@pytest.mark.parametrize("options", [{"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str)
def test_a_batch_norm_that_can_not_be_stacked_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="running statistics"):
        BatchNorm([nn.BatchNorm1d(D, **options)])
