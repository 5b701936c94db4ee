"""An epoch as one recorded graph: a recorder for the CPU stands in for CUDA's, and replays what CUDA would."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from methods.contract.base import Array, Method, Projection, Replica, Support, Task
from methods.contract.trained import TrainedMethod
from methods.linear_probe import LinearProbe
from methods.tools.registry import load
from methods.tools.stand_in import MadeEncoder, MadeModel
from workflow.lib.engine import graphs, kernels, training
from workflow.lib.engine.graphs import Replayed, Work

CLASSES, DIM, SIZE, SEEDS = 5, 16, 23, 2
TRAINED = [
    entry.method
    for entry in load([]).methods.values()
    if isinstance(entry.method(), TrainedMethod) and not entry.method().name.startswith("_")
]


class Recording(TorchDispatchMode):
    """Every operation on tensors with its arguments and results. As CUDA does, it refuses to wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """The same operations on the same memory, and their results where they were."""
        with torch.no_grad():
            for func, args, kwargs, result in self.calls:
                again = func(*args, **kwargs)
                for old, new in zip(pytree.tree_leaves(result), pytree.tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def record(work: Work) -> Work:
    """Like CUDA's: what is recorded has not been done."""
    recording = Recording()
    before = [(tensor, tensor.clone()) for tensor in _STATE]
    with recording:
        work()
    for tensor, content in before:
        tensor.copy_(content)
    return recording.replay


_STATE: list[Tensor] = []  # all that a recorded epoch may change


def state(run: training.Run) -> list[Tensor]:
    """The tensors that hold what a run has learned so far."""
    groups = [] if run._searching else run._optimizer.groups
    layers = list(run.head._layers.values())
    found = [*run.head.weights.values(), *(tensor.detach() for layer in layers for tensor in _tensors(layer))]
    found += [tensor for group in groups for tensor in [*group.first, *group.second, group.count]]
    found += run._average.values if run._average else []
    return [tensor.detach() for tensor in found]


def _tensors(value: Any, seen: set[int] | None = None) -> Iterator[Tensor]:
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part, seen)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()), seen)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value), seen)


def task(size: int = SIZE) -> Task:
    rng = np.random.default_rng(0)

    def support() -> Support:
        return Support(rng.normal(size=(size, DIM)).astype(np.float32), rng.permutation(np.arange(size) % CLASSES))

    text = rng.normal(size=(CLASSES, DIM)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    names = [str(k) for k in range(CLASSES)]
    towers = {
        "projection": Projection(np.eye(DIM, dtype=np.float32), np.zeros(DIM, np.float32)),
        "encoder": MadeEncoder(text, names),
        "model": MadeModel(text),
    }
    return Task({seed: support() for seed in range(SEEDS)}, names, "all", text, 20.0, engine=training, **towers)


def replicas(method: type[Method], **changes: Any) -> list[Replica]:
    params = method.defaults({}) | {"epochs": 5, "batch_size": 4} | changes
    return [Replica("-", {k: v for k, v in params.items() if k in method.params}, seed) for seed in range(SEEDS)]


def train(method: TrainedMethod, at: Task, who: Sequence[Replica], epochs: int) -> tuple[training.Run, np.ndarray]:
    """Logits of some queries after every epoch."""
    run = training.Run(method, at, who)
    _STATE[:] = state(run)
    queries = np.random.default_rng(1).normal(size=(7, DIM)).astype(np.float32)
    found = []
    for _ in range(epochs):
        run.advance(run.per_epoch)
        found.append(run.logits(queries).numpy().copy())
    return run, np.stack(found)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs are recorded, as on a GPU; a 1 for every recording."""
    times: list[int] = []

    def counting(work: Work) -> Work:
        times.append(1)
        return record(work)

    monkeypatch.setattr(graphs, "recorder", lambda device: counting)
    monkeypatch.setattr(kernels, "enabled", False)  # as there
    return times


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.name)
def test_replayed_epochs_are_those_done_one_by_one(
    method: type[TrainedMethod], recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, who = task(), replicas(method)
    _, found = train(method(), at, who, 5)
    whole = training.Run(method(), at, who)._epoch is not None
    assert recorded == ([1] if whole else [])
    monkeypatch.setattr(graphs, "recorder", lambda device: None)
    _, expected = train(method(), at, who, 5)
    assert not np.allclose(expected[0], expected[-1])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_one_method_at_least_is_recorded() -> None:
    assert LinearProbe in TRAINED
    assert len(TRAINED) >= 5


def test_the_rates_of_a_schedule_move_on(recorded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    class Cosine(LinearProbe):
        def recipe(self, task: Task, params: Any) -> Any:
            return replace(super().recipe(task, params), schedule="cosine", warmup=3, lr=0.05)

    at, who = task(), replicas(LinearProbe)
    _, found = train(Cosine(), at, who, 5)
    monkeypatch.setattr(graphs, "recorder", lambda device: None)
    _, expected = train(Cosine(), at, who, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


class Able(LinearProbe):
    """A linear probe with what a recipe can ask for."""

    def __init__(self, dropout: float = 0.0, own_loss: bool = False, **changes: Any) -> None:
        self._dropout, self._own_loss, self._changes = dropout, own_loss, changes

    def head(self, nn: Any, task: Task, replica: Replica) -> dict[str, Any]:
        layers = [nn.Dropout(self._dropout), nn.BatchNorm1d(task.dim), nn.Linear(task.dim, task.classes)]
        return {"classifier": nn.Sequential(*layers)}

    def recipe(self, task: Task, params: Any) -> Any:
        return replace(super().recipe(task, params), **self._changes)

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array | None:
        if not self._own_loss:
            return None
        return (logits.square().mean(-1) - logits.gather(-1, labels[..., None])[..., 0]).mean(-1)


REPLAYED = {
    "label smoothing": {"label_smoothing": 0.2},
    "own loss": {"own_loss": True},
    "moving average": {"ema": 0.8},
    "random views": {"views": "random"},
    "views in turn": {"views": "in_turn"},
    "step": {"schedule": "step", "milestones": (2, 4)},
}
STEP_BY_STEP = {"mixup": {"mixup": 0.5}, "dropout": {"dropout": 0.4}, "lbfgs": {"optimizer": "lbfgs", "batch_size": 0}}


@pytest.mark.parametrize("name", REPLAYED | STEP_BY_STEP)
def test_what_can_not_be_replayed_is_done_step_by_step(
    name: str, recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can is recorded; both give what the steps give."""
    method, at = Able(**(REPLAYED | STEP_BY_STEP)[name]), with_views(task())
    who = replicas(LinearProbe, lr=0.05)[: 1 if name == "lbfgs" else None]
    _, found = train(method, at, who, 5)
    assert recorded == ([1] if name in REPLAYED else [])
    monkeypatch.setattr(graphs, "recorder", lambda device: None)
    _, expected = train(method, at, who, 5)
    assert not np.allclose(expected[0], expected[-1])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def with_views(at: Task) -> Task:
    rng = np.random.default_rng(4)
    supports = {
        seed: replace(one, views=rng.normal(size=(len(one.y), 3, DIM)).astype(np.float32))
        for seed, one in at.supports.items()
    }
    return replace(at, supports=supports)


def test_the_log_says_that_random_numbers_are_not_recorded(recorded: list[int]) -> None:
    said: list[str] = []
    train(Able(dropout=0.4), replace(task(), log=said.append), replicas(LinearProbe), 3)
    assert said == ["  not recorded as a CUDA graph, and slower for it: the head draws random numbers"]


def test_the_loss_in_the_log_is_that_of_the_last_epoch(recorded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    at, who = task(), replicas(LinearProbe)
    run, _ = train(LinearProbe(), at, who, 5)
    monkeypatch.setattr(graphs, "recorder", lambda device: None)
    plain, _ = train(LinearProbe(), at, who, 5)
    assert run.loss() == pytest.approx(plain.loss(), rel=1e-5)


def test_what_waits_for_the_device_is_not_recorded_and_the_log_says_so() -> None:
    said: list[str] = []
    values: list[float] = []
    tensor = torch.zeros(1)

    def work() -> None:
        values.append(float(tensor.add_(1)))

    replayed = Replayed(work, record, said.append)
    for _ in range(3):
        replayed()
    assert values[0] == 1.0
    assert values[-1] == values[-2] + 1
    assert said == [
        "  not recorded as a CUDA graph, and slower for it: operation not permitted when stream is capturing"
    ]


def test_lack_of_memory_is_not_taken_for_that() -> None:
    def full(work: Work) -> Work:
        raise RuntimeError("CUDA error: out of memory")

    replayed = Replayed(lambda: None, full, print)
    replayed()
    with pytest.raises(MemoryError, match="out of memory"):
        replayed()


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert graphs.recorder("cpu") is None
    assert training.Run(LinearProbe(), task(), replicas(LinearProbe))._epoch is None


def test_a_head_that_counts_in_python_is_what_these_tests_would_catch(
    recorded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(LinearProbe):
        calls = 0

        def vjp(self, head: Any, x: Array) -> None:
            return None

        def logits(self, head: Any, x: Array) -> Array:
            self.calls += 1
            return super().logits(head, x) * (1 + self.calls / 10)

    at, who = task(), replicas(LinearProbe, lr=0.05)
    _, found = train(Counting(), at, who, 5)
    monkeypatch.setattr(graphs, "recorder", lambda device: None)
    _, expected = train(Counting(), at, who, 5)
    assert not np.allclose(found, expected, rtol=1e-3, atol=1e-4)
