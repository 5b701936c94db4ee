"""What the tests of the methods share: made problems that are easy to solve, with class texts near the classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from methods import Method, Replica, Support, Task, unit
from methods.contract.base import Floats, Labels
from workflow.lib.engine import training


@dataclass(frozen=True)
class Easy:
    """A task, queries `(M, D)` with their labels `(M,)`, and short ways to ask a method about them."""

    task: Task
    queries: Floats
    labels: Labels

    @classmethod
    def of(cls, images: Sequence[Sequence[float]], labels: Sequence[int], queries: Sequence[Sequence[float]]) -> "Easy":
        """A problem of a few given vectors, made unit, without text."""
        support = Support(unit(np.array(images, np.float32)), np.array(labels))
        task = Task({0: support}, [str(k) for k in range(max(labels) + 1)], "all")
        return cls(task, unit(np.array(queries, np.float32)), np.zeros(len(queries), np.int64))

    @property
    def support(self) -> Support:
        """That of seed 0."""
        return self.task.supports[0]

    @property
    def zero_shot(self) -> Floats:
        """`s f T^T`, `(M, K)`."""
        return self.task.logit_scale * self.queries @ self.task.class_text().T

    def text_of(self, length: float) -> Floats:
        """The class texts `(K, D)` of a length, or for 0 as the task has them at their own."""
        found = length * self.task.class_text() if length else self.task.text_raw
        assert found is not None
        return found

    def points(self, method: type[Method], seed: int = 0, **params: float) -> list[tuple[dict[str, float], Floats]]:
        """Every candidate's point and logits `(M, K)`, the default last."""
        one = Replica("-", method.defaults(params) | params, seed)
        return [(dict(c.point), np.asarray(c.logits(self.queries)).copy()[0]) for c in method().fit(self.task, [one])]

    def logits(self, method: type[Method], seed: int = 0, **params: float) -> Floats:
        """The default candidate's logits `(M, K)`."""
        return self.points(method, seed, **params)[-1][1]

    def notes(self, method: type[Method], **params: float) -> list[str]:
        """The footnotes of seed 0."""
        one = Replica("-", method.defaults(params) | params, 0)
        return [candidate.note for candidate in method().fit(self.task, [one])]

    def accuracy(self, method: type[Method], **params: float) -> float:
        return float((self.logits(method, **params).argmax(1) == self.labels).mean())

    def permuted(self, order: Sequence[int]) -> "Easy":
        """The same images with class `order[k]` in the place of class k."""
        place = np.argsort(order)
        supports = {seed: Support(one.x, place[one.y]) for seed, one in self.task.supports.items()}
        names = [self.task.classnames[k] for k in order]
        text, raw = self.task.class_text()[list(order)], self.task.own_text()[list(order)]
        task = replace(self.task, supports=supports, classnames=names, text=text, text_raw=raw)
        return Easy(task, self.queries, place[self.labels])


def make_easy(
    counts: Sequence[int] = (4, 4, 4),
    dim: int = 8,
    seeds: int = 1,
    scale: float = 20.0,
    noise: float = 0.5,
    text_noise: float = 0.5,
    choosing: bool = False,
) -> Easy:
    """`counts[k]` images of class k around random centres that share a direction, as CLIP's embeddings do."""
    rng = np.random.default_rng(5)
    classes = len(counts)
    centres = unit(rng.normal(size=(classes, dim)) + 0.5)

    def near(labels: Labels, by: float) -> Floats:
        return unit(centres[labels] + by / dim**0.5 * rng.normal(size=(len(labels), dim))).astype(np.float32)

    labels = np.repeat(np.arange(classes), counts)
    supports = {seed: Support(near(labels, noise), labels) for seed in range(seeds)}
    asked = rng.integers(classes, size=30)
    text = near(np.arange(classes), text_noise)
    task = Task(
        supports,
        [f"class {k}" for k in range(classes)],
        str(max(counts)),
        text,
        scale,
        choosing,
        engine=training,
        text_raw=text * np.linspace(4, 9, classes, dtype=np.float32)[:, None],
    )
    queries = near(asked, noise)
    each = np.stack([near(np.arange(classes), text_noise) for _ in range(4)], 1)
    return Easy(replace(task, text_each=each), queries, asked)


def cone(count: int, classes: int = 20, dim: int = 128, noise: float = 1.3, text_noise: float = 0.15) -> Easy:
    """Embeddings as CLIP's are, `count` of each class: image and text lie in cones of their own, the classes differ in
    a few dimensions, and in these the noise is strongest. With the defaults zero-shot is right nine times in ten.
    """
    rng = np.random.default_rng(4)
    axes, own = unit(rng.normal(size=(2, dim))), dim // 10
    spread = np.ones(dim)
    spread[: 3 * own] = 3
    spread /= np.linalg.norm(spread)
    directions = np.zeros((classes, dim))
    directions[:, :own] = unit(rng.normal(size=(classes, own)))

    def near(axis: Floats, labels: Labels, by: float) -> Floats:
        scattered = by * spread * rng.normal(size=(len(labels), dim))
        return unit(2 * axis + 0.9 * directions[labels] + scattered).astype(np.float32)

    labels, asked = np.repeat(np.arange(classes), count), np.repeat(np.arange(classes), 100)
    text = near(axes[1] + axes[0] / 2, np.arange(classes), text_noise)
    names, support = [str(k) for k in range(classes)], Support(near(axes[0], labels, noise), labels)
    task = Task({0: support}, names, str(count), text, engine=training, text_raw=10 * text)
    return Easy(task, near(axes[0], asked, noise), asked)


@pytest.fixture
def easy() -> Easy:
    """Three classes, four shots, eight dimensions."""
    return make_easy()


@pytest.fixture
def easy_of() -> Callable[..., Easy]:
    """Makes other easy problems."""
    return make_easy
