"""The numbers themselves: on whatever logits and labels come, they are the libraries', or what a definition says."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import classification

from tests.reporting import grid
from workflow.lib.engine.batches import bounds
from workflow.lib.errors import UserError
from workflow.lib.evaluation import scoring, supports
from workflow.lib.reporting import rendering, statistics, tables
from workflow.lib.reporting.results import tidy


@st.composite
def scored(draw: st.DrawFn, ties: bool = True) -> tuple[Any, Any]:
    """Logits `(M, K)` float32, with ties, zeros, huge and tiny values, and labels `(M,)`; K from 1 to 12."""
    images, classes = draw(st.integers(1, 30)), draw(st.integers(1, 12))
    few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e30, -1e30, 3e38, 1e-40, 88.0])
    values = few if ties else st.integers(-1280, 1280).map(lambda n: n / 64)  # different after softmax, too
    logits = draw(arrays.arrays(np.float32, (images, classes), elements=values, unique=not ties))
    return logits, draw(arrays.arrays(np.int64, images, elements=st.integers(0, classes - 1)))


@given(case=scored() | scored(ties=False))
def test_accuracies_are_scikit_learns_and_every_metric_is_in_its_range(case: Any) -> None:
    logits, labels = case
    found, guess = scoring.metrics(logits, labels), logits.argmax(1)
    assert all(np.isfinite(value) for value in found.values())
    assert all(0 <= found[name] <= 1 for name in ("accuracy", "mean_per_class", "top5"))
    assert -1e-9 <= found["ece"] <= 1 + 1e-9
    assert found["nll"] >= 0
    assert found["accuracy"] == sklearn_metrics.accuracy_score(labels, guess)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are guessed, but have no image
        assert found["mean_per_class"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, guess))
    assert found["accuracy"] <= found["top5"] or len(np.unique(logits)) < logits.size  # a tie counts against


@given(case=scored(ties=False))
def test_without_ties_they_are_torchmetrics(case: Any) -> None:
    logits, labels = case
    classes = logits.shape[1]
    assume(classes > 1)
    found, x, y = scoring.metrics(logits, labels), torch.from_numpy(logits), torch.from_numpy(labels)
    top5 = classification.multiclass_accuracy(x, y, classes, average="micro", top_k=min(5, classes))
    assert found["top5"] == pytest.approx(float(top5))
    assert found["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(x.double(), y)), abs=1e-9)
    probability = x.double().softmax(1)  # torchmetrics takes logits that lie between 0 and 1 for probabilities
    confidence = probability.amax(1) * scoring.ECE_BINS
    if float((confidence - confidence.round()).abs().min()) > 1e-5:  # at an edge the two may choose either bin
        ece = classification.multiclass_calibration_error(probability, y, classes, n_bins=scoring.ECE_BINS)
        assert found["ece"] == pytest.approx(float(ece), abs=1e-6)


@given(case=scored())
def test_hits_of_a_stack_are_those_of_each(case: Any) -> None:
    logits, labels = case
    stack = np.stack([logits, logits[:, ::-1]])
    both = scoring.hits(stack, labels)
    assert np.array_equal(both[0], logits.argmax(1) == labels)
    assert np.array_equal(both, np.asarray(scoring.hits(torch.from_numpy(stack), labels)))


# --- supports ----------------------------------------------------------------------------------------------------


@given(
    labels=arrays.arrays(np.int64, st.integers(1, 60), elements=st.integers(0, 3)),
    shots=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_supports_are_nested_balanced_and_never_out_of_range(labels: Any, shots: int, seed: int) -> None:
    names = [f"class {k}" for k in range(labels.max() + 1)]
    sizes = np.bincount(labels, minlength=len(names))
    few = supports.draw(labels, names, str(shots), seed, allow_fewer=True)
    more = supports.draw(labels, names, str(shots + 1), seed, allow_fewer=True)
    everything = supports.draw(labels, names, "all", seed)
    assert np.bincount(labels[few], minlength=len(names)).tolist() == np.minimum(sizes, shots).tolist()
    assert set(few) <= set(more) <= set(everything)
    assert sorted(everything.tolist()) == list(range(len(labels)))
    for k in range(len(names)):
        own, longer = few[labels[few] == k], more[labels[more] == k]
        assert own.tolist() == longer[: len(own)].tolist()
    if sizes.min() >= shots:
        assert np.array_equal(few, supports.draw(labels, names, str(shots), seed))
    else:
        with pytest.raises(UserError, match="are asked for"):
            supports.draw(labels, names, str(shots), seed)


@given(size=st.integers(1, 300), batch=st.integers(0, 320))
def test_batches_cover_every_sample_once_and_none_is_of_one(size: int, batch: int) -> None:
    found = bounds(size, batch)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(size))
    if batch != 1:
        assert all(stop - start > 1 for start, stop in found) or size == 1
    assert all(stop - start <= (batch or size) + 1 for start, stop in found)


# --- statistics --------------------------------------------------------------------------------------------------

HITS = arrays.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 40)))


@given(hits=HITS, flips=st.integers(0, 2**32))
def test_an_interval_holds_the_mean_and_a_comparison_is_symmetric(hits: Any, flips: int) -> None:
    other = hits ^ (np.random.default_rng(flips).random(hits.shape) < 0.2)
    rows = [statistics.Terms(one.astype(float), np.zeros(len(one)), one.shape[1]) for one in (hits, other)]
    (found,) = statistics.bootstrap([rows], resamples=300)
    low, high = found.interval(0)
    assert -1e-6 <= low <= found.observed[0] + 1e-6
    assert found.observed[0] - 1e-6 <= high <= 1 + 1e-6
    assert found.observed[0] == pytest.approx(hits.mean())
    one, back = found.difference(0, 1), found.difference(1, 0)
    assert (one.mean, one.low, one.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=1e-6)
    assert one.p == back.p
    assert 0 < one.p <= 1
    same = found.difference(0, 0)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)


# --- tables ------------------------------------------------------------------------------------------------------


@given(accuracies=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_what_is_printed_is_numpys_mean_and_deviation(accuracies: list[float]) -> None:
    cells = grid.CELLS | {("digits", "nano", "adapter", "1"): {"-": accuracies}}
    results = grid.results(cells)
    table = tables.dataset_table(results, "digits", "nano")
    mean, sd = f"{np.mean(accuracies) * 100:.2f}", f"{np.std(accuracies, ddof=1) * 100:.2f}"
    number = next(found for label, found, _ in table.rows if label == "adapter")[0]
    assert isinstance(number, tables.Number)
    assert abs(number.mean - float(mean)) <= 0.0051
    assert str(number) in rendering.markdown(table)
    assert f"adapter,{number.mean:.2f},{number.sd:.2f}," in rendering.comma_separated(table)
    assert abs((number.sd or 0) - float(sd)) <= 0.0051
    for seed, accuracy in enumerate(accuracies):
        assert f"digits,nano,adapter,-,1,{seed},accuracy,{accuracy!r}\n" in tidy(results)
