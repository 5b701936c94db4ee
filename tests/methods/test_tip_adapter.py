"""Tip-Adapter: a cache of labelled images beside zero-shot."""

import time
from collections.abc import Callable
from math import exp

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from methods import Replica, Support, Task, unit
from methods.contract import cache_model
from methods.tip_adapter import TipAdapter
from tests.methods.conftest import Easy
from workflow.lib.evaluation.protocol import Judge, Outcome, Queries


def test_it_is_the_published_formula_image_by_image(easy: Easy) -> None:
    logits = easy.logits(TipAdapter, alpha=1.5, beta=3.0)
    for query, row in zip(easy.queries, logits, strict=True):
        expected = [easy.task.logit_scale * float(query @ text) for text in easy.task.class_text()]
        for image, label in zip(easy.support.x, easy.support.y, strict=True):
            expected[label] += 1.5 * exp(-3.0 * (1 - float(query @ image)))
        assert row == pytest.approx(expected, rel=1e-5)


def test_without_weight_the_cache_is_not_heard(easy: Easy) -> None:
    assert np.array_equal(easy.logits(TipAdapter, alpha=0.0), easy.zero_shot)


def test_with_all_the_weight_and_sharpness_it_is_the_nearest_neighbour(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(noise=0.8, scale=0.0)
    nearest = easy.support.y[(easy.queries @ easy.support.x.T).argmax(1)]
    assert (nearest != easy.logits(TipAdapter, beta=0.1).argmax(1)).any()
    assert np.array_equal(easy.logits(TipAdapter, beta=200.0).argmax(1), nearest)


def test_without_sharpness_every_image_has_the_same_vote(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(5, 1, 3))
    assert easy.logits(TipAdapter, beta=0.0) - easy.zero_shot == pytest.approx(np.tile([5.0, 1.0, 3.0], (30, 1)), 1e-4)


def test_slices_of_queries_change_nothing(easy: Easy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = easy.logits(TipAdapter)
    monkeypatch.setattr(cache_model, "SLICE", 7 * len(easy.support.y))
    assert easy.logits(TipAdapter) == pytest.approx(whole, rel=1e-6)
    monkeypatch.setattr(cache_model, "KEPT", 0)
    assert easy.logits(TipAdapter) == pytest.approx(whole, rel=1e-6)


def test_the_grid_is_200_beta_by_20_alpha() -> None:
    assert {name: len(values) for name, values in TipAdapter.grid.items()} == {"beta": 200, "alpha": 20}


def test_the_grid_takes_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of it, at K = 100, 16 shots, 3333 queries, D = 512, with the scoring, on one core.

    It takes 0.6 s of an idle core, and so all of it 6; with an affinity of its own for every point it would take 18.
    """
    rng = np.random.default_rng(0)
    labels, asked = np.repeat(np.arange(100), 16), rng.integers(100, size=3333)
    centres = rng.normal(size=(100, 512))

    def near(y: np.ndarray) -> np.ndarray:
        return unit(centres[y] + 2 * rng.normal(size=(len(y), 512))).astype(np.float32)

    names = [str(k) for k in range(100)]
    task = Task({0: Support(near(labels), labels)}, names, "16", near(np.arange(100)), choosing=True)
    replica = Replica("-", TipAdapter.defaults({}), 0)
    outcomes = {replica: Outcome(["report"])}
    judge = Judge(["report"], 100, Queries(near(asked), asked), None, {})
    monkeypatch.setattr(TipAdapter, "grid", TipAdapter.grid | {"beta": TipAdapter.grid["beta"][::10]})
    with threadpool_limits(1):
        start = time.process_time()
        for candidate in TipAdapter().fit(task, [replica]):
            judge(candidate, outcomes)
        taken = time.process_time() - start
    assert len(outcomes[replica].curve) == 20 * 20 + 1
    assert taken < 4
