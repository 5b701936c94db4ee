"""Where memory runs out with one replica alone, a step through a tower takes less and gives the same gradients."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from methods import Replica, Task, TrainedMethod
from methods.clip_lora import LowRankAdaptation
from methods.contract.prompted import PromptMethod
from methods.coop import ContextOptimization
from methods.fine_tune import FineTuning
from methods.kgcoop import KnowledgeGuidedContext
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from tests.towers import models
from tests.towers.models import DEEP, RESNET
from tests.towers.test_adapted_methods import with_images
from tests.towers.test_tuned_methods import problem
from workflow.lib.engine import training
from workflow.lib.engine.modules import Modules
from workflow.lib.engine.objective import Objective
from workflow.lib.jobs import memory
from workflow.lib.towers.model import TwoTowers

IMAGES = 12
VISION = {"encoder": "vision", "dropout": 0.0}
BOTH = {"loss": "contrastive"}
Case = tuple[type[TrainedMethod], Mapping[str, Any], str, Mapping[str, Any]]
# What may be taken in parts, and what draws random numbers or has a loss of the whole batch.
APART: dict[str, Case] = {
    "last_block, vit": (LastBlock, {"blocks": 2}, "openai", DEEP),
    "last_block, resnet": (LastBlock, {}, "custom", RESNET),
    "fine_tune": (FineTuning, {}, "custom", DEEP),
    "clip_lora without dropout": (LowRankAdaptation, {"dropout": 0.0}, "openai", DEEP),
    "clip_lora of images": (LowRankAdaptation, VISION, "siglip", DEEP),
    "two_stage": (TwoStage, {}, "openai", DEEP),
    "coop": (ContextOptimization, {"context": 3}, "openai", DEEP),
    "kgcoop": (KnowledgeGuidedContext, {"context": 3}, "coca", DEEP),
}
WHOLE: dict[str, tuple[Case, str]] = {
    "fine_tune of both": ((FineTuning, BOTH, "openai", DEEP), "its loss is no mean over images"),
    "fine_tune of both, siglip": ((FineTuning, BOTH, "siglip", DEEP), "its loss is no mean over images"),
    "fine_tune of crops": (
        (FineTuning, {"crop": 0.5, "flip": True}, "openai", DEEP),
        "random numbers are drawn for the whole of it",
    ),
    "clip_lora": ((LowRankAdaptation, {}, "openai", DEEP), "random numbers are drawn for the whole of it"),
}


def run(case: Case, said: list[str]) -> training.Run:
    """One replica of four classes and three shots, which takes all of its images at each step."""
    method, params, kind, vision = case
    if issubclass(method, (LowRankAdaptation, TwoStage)):
        task: Task = with_images(kind)[0]
    else:
        task = problem(models.backbone(kind, vision), params.get("blocks", 1) if method is LastBlock else 0)
    if issubclass(method, PromptMethod):
        task = replace(with_images(kind)[0], supports={0: replace(task.supports[0], x=noise())})
    who = Replica("-", method.defaults({}) | {"batch_size": 0} | dict(params), 0)
    return training.Run(method(), replace(task, log=said.append), [who])


def noise() -> Any:
    return np.random.default_rng(0).normal(size=(IMAGES, 16)).astype(np.float32)


def gradients(case: Case, said: list[str]) -> dict[str, Tensor]:
    """Of the second step: the first has moved the weights, and the random numbers."""
    made = run(case, said)
    for weight in made.head.weights.values():
        weight.detach().add_(0.01)
    made.gradients(*next(made.batches))
    return {name: value.clone() for name, value in made.gradients(*next(made.batches)).items()}


def short(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    """Memory runs out where blocks keep what they make, and with more images than these."""
    outputs = Objective._outputs

    def limited(self: Objective, x: Tensor, y: Any) -> Any:
        found = outputs(self, x, y)
        if not memory.is_sparing() or x.shape[1] > images:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(Objective, "_outputs", limited)


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    largest = max(float(value.abs().max()) for value in expected.values())
    assert largest > 0
    assert found.keys() == expected.keys()
    return all((found[name] - expected[name]).abs().max() <= 1e-5 * largest for name in expected)


CASES = {**APART, **{name: case for name, (case, _) in WHOLE.items()}}


@cache
def unlimited(name: str) -> dict[str, Tensor]:
    """Where memory is not short nothing is said, and nothing done."""
    said: list[str] = []
    found = gradients(CASES[name], said)
    assert said == []
    return found


@pytest.mark.parametrize("name", CASES)
def test_blocks_that_are_computed_again_give_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    expected = unlimited(name)
    short(monkeypatch, images=IMAGES)
    assert same(gradients(CASES[name], said), expected)
    assert [line.split(":")[0] for line in said] == [
        f"  out of memory in a step of {IMAGES} images, going on with less"
    ]
    assert "what the tower's blocks make is computed again for the gradients" in said[0]


@pytest.mark.parametrize("name", APART)
def test_a_batch_in_parts_has_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    expected = unlimited(name)
    short(monkeypatch, images=3)
    assert same(gradients(APART[name], said), expected)
    assert [part for line in said for part in ("2 parts", "4 parts") if part in line] == ["2 parts", "4 parts"]


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_of_the_whole_batch_is_not_taken_in_parts_and_says_why(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, reason = WHOLE[name]
    short(monkeypatch, images=3)
    with pytest.raises(MemoryError, match=reason):
        gradients(case, [])


def test_one_image_that_does_not_fit_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch, images=0)
    said: list[str] = []
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        gradients(APART["fine_tune"], said)
    assert len(said) == 5  # blocks, 2, 4, 8 and 12 parts


@contextmanager
def counted(weights: set[int]) -> Iterator[Counter[str]]:
    """The bytes that autograd keeps at once, at most."""
    found = Counter[str]()

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            self.size = 0 if tensor.data_ptr() in weights else tensor.nbytes
            found["now"] += self.size
            found["most"] = max(found["most"], found["now"])

        def __del__(self) -> None:
            found["now"] -= self.size

    with saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        yield found


@pytest.mark.parametrize("name", ["fine_tune", "clip_lora of images", "fine_tune of both, siglip"])
def test_less_is_kept_for_the_gradients(name: str) -> None:
    most = []
    for parts in (0, 1):
        made = run(CASES[name], [])
        made._gradients._parts = parts  # type: ignore[attr-defined]
        x, y = next(made.batches)
        layers = [layer for layer in vars(made.head.parts).values() if isinstance(layer, Modules)]
        weights = [*made.head.weights.values(), *(p for layer in layers for p in layer._modules[0].parameters())]
        with counted({weight.data_ptr() for weight in weights}) as found:
            made.gradients(x, y)
        most.append(found["most"])
    assert 0 < most[1] < most[0] / 2


def test_a_cell_goes_on_and_gives_what_it_would_have_given(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, said = models.backbone("openai"), []
    task = replace(problem(backbone, 0, seeds=1), log=said.append)
    assert isinstance(task.model, TwoTowers)
    (who,) = [Replica("-", FineTuning.defaults({}) | {"epochs": 3, "batch_size": 6}, 0)]
    queries = task.supports[0].x
    expected = [np.asarray(one.logits(queries)).copy() for one in FineTuning().fit(task, [who])]
    short(monkeypatch, images=3)
    found = [np.asarray(one.logits(queries)).copy() for one in FineTuning().fit(task, [who])]
    assert np.allclose(found, expected, atol=1e-4)
    assert sum("out of memory" in line for line in said) == 2  # once for all steps
