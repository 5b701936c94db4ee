"""The compiled walks through memory, against PyTorch's layers, losses and optimisers in float64."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workflow.lib.engine import kernels

R, B, D, K = 3, 7, 19, 5  # no multiple of what a processor takes at a time


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam(name: str) -> None:
    start, (beta1, beta2), lr, decay = torch.randn(D), (0.9, 0.999), 0.01, 0.1
    reference = nn.Parameter(start.double())
    optimizer = getattr(torch.optim, name)([reference], lr=lr, weight_decay=decay)
    weight, first, second = kernels.arrays(start.clone(), torch.zeros(D), torch.zeros(D))
    for step in range(1, 6):
        gradient = torch.randn(D)
        reference.grad = gradient.double()
        optimizer.step()
        grown = 1 - beta2**step
        rate, eps = lr * grown**0.5 / (1 - beta1**step), 1e-8 * grown**0.5
        keep, l2 = (1.0, decay) if name == "Adam" else (1 - lr * decay, 0.0)
        kernels.adam(*kernels.arrays(gradient), weight, first, second, beta1, beta2, rate, eps, keep, l2)
        close(torch.from_numpy(weight), reference.detach())


@pytest.fixture
def normalised() -> Any:
    """A batch through a BatchNorm: what the kernel makes of it, and the layers of the replicas."""
    layers = [nn.BatchNorm1d(D).double() for _ in range(R)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    x = 3 * torch.randn(R, B, D) + 5
    weight, bias, mean, var = (
        torch.stack([getattr(layer, name).detach().float()[None] for layer in layers])
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    normed, standard, inverse = torch.empty(R, B, D), torch.empty(R, B, D), torch.empty(R, 1, D)
    arrays = kernels.arrays(x, weight, bias, mean, var, normed, standard, inverse)
    kernels.normalise(*arrays[:5], 0.1, 1e-5, *arrays[5:])
    return layers, x, weight, bias, mean, var, normed, standard, inverse


def test_normalise(normalised: Any) -> None:
    layers, x, weight, bias, mean, var, normed, standard, inverse = normalised
    for r, layer in enumerate(layers):
        close(normed[r], layer(x[r].double()).detach())
        close(mean[r, 0], layer.running_mean)
        close(var[r, 0], layer.running_var)
    torch.testing.assert_close(normed, weight * standard + bias)
    torch.testing.assert_close(standard, (x - x.mean(1, keepdim=True)) * inverse, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_normalise_back(normalised: Any, inputs: bool, in_place: bool) -> None:
    layers, x, weight, *_, standard, inverse = normalised
    gradient, slope, total = torch.randn(R, B, D), torch.empty(R, 1, D), torch.empty(R, 1, D)
    upstream = gradient.double()
    for_x = torch.empty(0, 0, 0) if not inputs else gradient if in_place else torch.empty(R, B, D)
    kernels.normalise_back(*kernels.arrays(gradient, standard, inverse, weight, slope, total, for_x))
    for r, layer in enumerate(layers):
        own = x[r].double().requires_grad_()
        leaves = [own, layer.weight, layer.bias]
        for_own, for_weight, for_bias = torch.autograd.grad(layer(own), leaves, upstream[r])
        close(slope[r, 0], for_weight)
        close(total[r, 0], for_bias)
        if inputs:
            close(for_x[r], for_own)


def test_adam_behind_norm(normalised: Any) -> None:
    """One step with the gradient as PyTorch derives it through both layers, and the gradients on the way."""
    layers, x, weight, bias, _, _, _, standard, _ = normalised
    linear, gradient = torch.randn(R, K, D), torch.randn(R, B, K)
    product, turned = gradient.mT @ standard, gradient.mT.contiguous()
    slope, total, sums = torch.empty(R, 1, D), torch.empty(R, 1, D), torch.empty(R, 1, K)
    first, second = torch.randn(R, K, D), torch.rand(R, K, D)
    constants = 0.9, 0.99, 0.05, 1e-3, 0.98, 0.1
    found, expected_state = linear.clone(), [first.clone(), second.clone()]
    tensors = (turned, product, weight, bias, slope, total, sums, found, first, second)
    kernels.adam_behind_norm(*kernels.arrays(*tensors), *constants)
    torch.testing.assert_close(sums, gradient.sum(1, keepdim=True))
    for r, layer in enumerate(layers):
        own = linear[r].double().requires_grad_()
        logits = layer(x[r].double()) @ own.T
        leaves = [own, layer.weight, layer.bias]
        for_linear, *others = torch.autograd.grad(logits, leaves, gradient[r].double())
        for value, expected in zip((slope[r, 0], total[r, 0]), others, strict=True):
            close(value, expected)
        state = [linear[r].flatten(), *(tensor[r].flatten() for tensor in expected_state)]
        kernels.adam(*kernels.arrays(for_linear.float().flatten(), *state), *constants)
        for value, expected in zip((found[r], first[r], second[r]), state, strict=True):
            torch.testing.assert_close(value.flatten(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("classes_first", [True, False])
def test_cross_entropy(classes_first: bool) -> None:
    logits, labels = torch.randn(R, B, K, dtype=torch.float64, requires_grad=True), torch.randint(K, (R, B))
    losses = nn.functional.cross_entropy(logits.mT, labels, reduction="none")
    (expected,) = torch.autograd.grad(losses.mean(1).sum(), logits)
    found, own = logits.detach().softmax(-1).float(), torch.empty(R, B)
    memory = found.mT.contiguous() if classes_first else found
    kernels.cross_entropy(*kernels.arrays(memory, labels, own), classes_first)
    close(memory.mT if classes_first else memory, expected)
    close(-own.log(), losses.detach())


def test_what_diverges_shows() -> None:
    """A number that is none spoils what it meets, and nothing else."""
    gradient = torch.tensor([float("nan"), 1.0])
    weight, first, second = kernels.arrays(torch.ones(2), torch.zeros(2), torch.zeros(2))
    kernels.adam(*kernels.arrays(gradient), weight, first, second, 0.9, 0.999, 0.1, 1e-8, 1.0, 0.0)
    assert torch.from_numpy(weight).isnan().tolist() == [True, False]


@pytest.mark.parametrize("tensor", [torch.zeros(2, dtype=torch.float64), torch.zeros(2, device="meta")], ids=str)
def test_other_tensors_are_left_to_pytorch(tensor: Tensor) -> None:
    assert not kernels.fit(tensor)
    assert kernels.fit(torch.zeros(2))


def test_what_is_remembered_is_the_memory_and_never_a_copy() -> None:
    tensor, latest = torch.zeros(2, 3), kernels.Latest()
    for view in (tensor, tensor, tensor.mT, tensor):
        tensor += 1
        assert (latest(view) == view.numpy()).all()
    turned = tensor.mT
    for _ in range(2):
        tensor += 1
        assert (latest(turned) == turned.numpy()).all()


def test_without_a_folder_for_its_cache_it_works_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    @kernels.compiled("void(f4[::1])")
    def double(x: Any) -> None:
        for i in range(x.size):
            x[i] *= np.float32(2)

    x = torch.ones(3)
    double(*kernels.arrays(x))
    assert x.tolist() == [2, 2, 2]


def import_with_cache(folder: Path) -> str:
    """What a process says that keeps what it compiles in a folder."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", "from workflow.lib.engine import kernels; print(kernels.adam.__name__)"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that is compiled, which takes seconds."""
    folder = tmp_path_factory.mktemp("cache")
    assert import_with_cache(folder) == "adam\n"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_a_cache_that_a_power_cut_left_empty(ending: str, cache: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(cache, tmp_path / "cache"))
    damaged = [path for path in folder.rglob(f"*.{ending}") if ".adam-" in path.name]
    assert damaged
    for path in damaged:
        path.write_bytes(b"")
    assert import_with_cache(folder) == "adam\n"
