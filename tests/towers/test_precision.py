"""With `precision: bf16` a step's products are in bfloat16: what is learned is near, and what classifies is float32."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from methods import Replica
from methods.clip_lora import LowRankAdaptation
from methods.fine_tune import FineTuning
from methods.last_block import LastBlock
from methods.tools.registry import load
from tests.towers import models
from tests.towers.test_adapted_methods import with_images
from tests.towers.test_short_of_memory import CASES, IMAGES, counted, noise, run, same, short
from tests.towers.test_tuned_methods import LR, problem, replicas
from workflow.lib.engine import training
from workflow.lib.engine.modules import Modules
from workflow.lib.jobs.precision import as_the_step_asks, exactly, learning_in

LEAST, MOST = 1e-4, 0.06  # of the gradients' difference, as a share: the towers here have random weights


def begun(name: str, precision: str, said: list[str] | None = None) -> training.Run:
    """One replica, away from its start."""
    method, params, kind, vision = CASES[name]
    made = run((method, {**params, "precision": precision}, kind, vision), [] if said is None else said)
    for weight in made.head.weights.values():
        weight.detach().add_(0.01)
    return made


def gradients(made: training.Run) -> dict[str, Tensor]:
    """Of the first batch."""
    return {name: value.clone() for name, value in made.gradients(*next(made.batches)).items()}


@cache
def steps(name: str) -> Mapping[str, tuple[dict[str, Tensor], Tensor, Tensor]]:
    """In each precision: the gradients of a step, and logits before and after, for nothing moves the weights."""
    found = {}
    for precision in ("fp32", "bf16"):
        made = begun(name, precision)
        queries = made._task.supports[0].x
        before = made.logits(queries).clone()
        found[precision] = gradients(made), before, made.logits(queries).clone()
    return found


def test_every_method_that_has_the_parameter_is_here() -> None:
    having = {entry.method for entry in load().methods.values() if "precision" in entry.method.params}
    assert having == {method for method, *_ in CASES.values()}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_near_and_in_float32(name: str) -> None:
    exact, near = (steps(name)[precision][0] for precision in ("fp32", "bf16"))
    assert {value.dtype for value in near.values()} == {torch.float32}
    whole, other = (torch.cat([value.flatten() for value in found.values()]) for found in (exact, near))
    assert LEAST < float((whole - other).norm() / whole.norm()) < MOST


@pytest.mark.parametrize("name", CASES)
def test_what_classifies_is_float32_to_the_last_bit(name: str) -> None:
    """And what is kept for later steps too: blocks below the lowest that is trained, for one."""
    _, expected, _ = steps(name)["fp32"]
    _, before, after = steps(name)["bf16"]
    assert torch.equal(before, expected)
    assert torch.equal(after, expected)


@pytest.mark.parametrize("kind", ["openai", "siglip"])
def test_what_blocks_make_of_texts_and_is_kept_is_float32(kind: str) -> None:
    """Though it is the step that asks for it first."""
    task, kept = with_images(kind)[0], []
    task = replace(task, supports={0: replace(task.supports[0], x=noise())})
    for precision in ("fp32", "bf16"):
        own = {"encoder": "text", "blocks": 1, "batch_size": 0, "precision": precision}
        made = training.Run(LowRankAdaptation(), task, [Replica("-", LowRankAdaptation.defaults({}) | own, 0)])
        made.gradients(*next(made.batches))
        kept.append(made.head.parts.text._frozen._known)
    assert kept[0].keys() == kept[1].keys() != set()
    assert all(torch.equal(kept[0][below], kept[1][below]) for below in kept[0])


@pytest.mark.parametrize("name", ["last_block, vit", "fine_tune of both", "two_stage", "coop"])
def test_where_memory_is_short_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed again for the gradients is computed as the first time."""
    expected, _, _ = steps(name)["bf16"]
    short(monkeypatch, images=IMAGES)
    said: list[str] = []
    assert same(gradients(begun(name, "bf16", said)), expected)
    assert len(said) == 1


@pytest.mark.parametrize("name", ["fine_tune", "clip_lora of images"])
def test_less_is_kept_for_the_gradients(name: str) -> None:
    """Of a batch that is large beside the weights, which are kept once more in bfloat16."""
    kept = []
    for precision in ("fp32", "bf16"):
        made = begun(name, precision)
        x, y = next(made.batches)
        layers = [layer for layer in vars(made.head.parts).values() if isinstance(layer, Modules)]
        weights = [*made.head.weights.values(), *(p for layer in layers for p in layer._modules[0].parameters())]
        with counted({weight.data_ptr() for weight in weights}) as found:
            made.gradients(x.repeat(1, 8, *[1] * (x.dim() - 2)), y.repeat(1, 8))
        kept.append(found["most"])
    assert kept[1] < 0.85 * kept[0]


@pytest.mark.parametrize("method", [LastBlock, FineTuning])
def test_a_training_ends_near_where_the_exact_one_does(method: Any) -> None:
    """Side by side with another replica: weights are float32, and have moved alike."""
    moved = []
    for precision in ("fp32", "bf16"):
        task = problem(models.backbone("openai"), 1 if method is LastBlock else 0)
        made = training.Run(method(), task, replicas(method, precision=precision))
        before = {name: weight.detach().clone() for name, weight in made.head.weights.items()}
        for _ in range(5):
            made.advance(1)
        assert {weight.dtype for weight in made.head.weights.values()} == {torch.float32}
        moved.append(torch.cat([(made.head.weights[name].detach() - before[name]).flatten() for name in before]))
    assert float(moved[0].abs().max()) > LR
    # Adam makes steps of one size of gradients of any: numbers whose gradient is near 0 go either way.
    assert LEAST < float((moved[0] - moved[1]).norm() / moved[0].norm()) < 0.2


def test_the_precision_ends_with_the_step_even_where_it_fails() -> None:
    product = as_the_step_asks(lambda x: (x @ x) @ x)
    x = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    exact = x @ x @ x
    with learning_in("bf16", "cpu"):
        assert not torch.equal(product(x), exact)
        assert product(x).dtype == torch.float32
        with learning_in("fp32", "cpu"):
            assert torch.equal(product(x), exact)
        assert not torch.equal(product(x), exact)
        with exactly("cpu"):
            assert torch.equal(x @ x @ x, exact)
    assert torch.equal(product(x), exact)
    with pytest.raises(RuntimeError, match="shape"), learning_in("bf16", "cpu"):
        product(x[:, :3])
    assert torch.equal(product(x), exact)


def test_replicas_of_two_precisions_are_not_trained_as_one() -> None:
    task = problem(models.backbone("openai"))
    who = [Replica("-", FineTuning.defaults({}) | {"precision": precision}, 0) for precision in ("fp32", "bf16")]
    with pytest.raises(ValueError, match="differs from the others' in more than rate and decay"):
        training.Run(FineTuning(), task, who)
