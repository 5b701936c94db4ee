"""Metrics: each of them against torchmetrics or scikit-learn, which know them too, and by hand where those differ."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import classification

from workflow.lib.evaluation import scoring

CASES = [(2, 50), (3, 40), (5, 60), (6, 80), (10, 200), (100, 500)]  # classes, images


def draw(classes: int, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right more often than not, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes)) * 2
    logits[np.arange(images), labels] += 1.5
    return logits.astype(np.float32), labels.astype(np.int64)


DRAWS = [
    pytest.param(*draw(classes, images, seed), id=f"{classes} classes, seed {seed}")
    for classes, images in CASES
    for seed in range(3)
]


@pytest.mark.parametrize(("logits", "labels"), DRAWS)
def test_every_metric_is_the_one_that_torchmetrics_computes(logits: np.ndarray, labels: np.ndarray) -> None:
    found = scoring.metrics(logits, labels)
    x, y, classes = torch.from_numpy(logits), torch.from_numpy(labels), logits.shape[1]
    top = min(5, classes)
    expected = {
        "accuracy": classification.multiclass_accuracy(x, y, classes, average="micro"),
        "top5": classification.multiclass_accuracy(x, y, classes, average="micro", top_k=top),
        "nll": torch.nn.functional.cross_entropy(x.double(), y),
        "ece": classification.multiclass_calibration_error(x, y, classes, n_bins=15),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), abs=1e-6), name


@pytest.mark.parametrize(("logits", "labels"), DRAWS)
def test_every_metric_is_the_one_that_scikit_learn_computes(logits: np.ndarray, labels: np.ndarray) -> None:
    found = scoring.metrics(logits, labels)
    guess, every = logits.argmax(1), np.arange(logits.shape[1])
    probability = torch.from_numpy(logits.astype(np.float64)).softmax(1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are guessed, but have no image
        assert found["mean_per_class"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, guess))
    assert found["accuracy"] == sklearn_metrics.accuracy_score(labels, guess)
    assert found["nll"] == pytest.approx(sklearn_metrics.log_loss(labels, probability, labels=every))
    if logits.shape[1] > 5:
        top5 = sklearn_metrics.top_k_accuracy_score(labels, probability, k=5, labels=every)
        assert found["top5"] == pytest.approx(top5)


@pytest.mark.parametrize(("logits", "labels"), DRAWS)
def test_f1_auroc_and_brier_are_scikit_learn_s_and_torchmetrics(logits: np.ndarray, labels: np.ndarray) -> None:
    found = scoring.metrics(logits, labels)
    guess, classes = logits.argmax(1), logits.shape[1]
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    probability = x.double().softmax(1).numpy()
    assert found["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(labels, guess, average="macro"))
    theirs = classification.multiclass_f1_score(x, y, classes, average="macro")
    assert found["macro_f1"] == pytest.approx(float(theirs), abs=1e-6)
    areas = [sklearn_metrics.roc_auc_score(labels == k, probability[:, k]) for k in np.unique(labels)]
    assert found["auroc"] == pytest.approx(np.mean(areas))
    if len(areas) == classes:  # torchmetrics takes a class without an image for one that is never found
        assert found["auroc"] == pytest.approx(float(classification.multiclass_auroc(x, y, classes)), abs=1e-5)
    distance = ((probability - np.eye(classes)[labels]) ** 2).sum(1).mean()
    assert found["brier"] == pytest.approx(distance)


def test_auroc_of_two_classes_is_that_of_the_second() -> None:
    logits, labels = draw(2, 80, 1)
    area = sklearn_metrics.roc_auc_score(labels, logits[:, 1] - logits[:, 0])
    assert scoring.metrics(logits, labels)["auroc"] == pytest.approx(area)


def test_ties_count_half_in_auroc() -> None:
    assert scoring.metrics(np.zeros((6, 3), np.float32), np.array([0, 1, 2] * 2))["auroc"] == 0.5


def test_a_class_that_is_guessed_and_has_no_image_counts_in_macro_f1_and_one_that_is_neither_does_not() -> None:
    guess, labels = np.array([0, 0, 2]), np.array([0, 0, 0])
    assert scoring.macro_f1(guess, labels) == pytest.approx((4 / 5 + 0) / 2)
    assert scoring.macro_f1(guess, labels) == pytest.approx(sklearn_metrics.f1_score(labels, guess, average="macro"))


@pytest.mark.parametrize("metric", list(scoring.METRICS))
@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy, lambda x: x.transpose(1, 0, 2).copy().swapaxes(0, 1)])
def test_a_candidate_is_scored_by_the_metric_on_all_images_or_some(metric: str, wrap: Any) -> None:
    (first, labels), (second, _) = draw(6, 80, 0), draw(6, 80, 0)
    second = second[::-1].copy()
    answers = scoring.Answers(metric, wrap(np.stack([first, second])), labels)
    assert answers.scores == pytest.approx([scoring.metrics(one, labels)[metric] for one in (first, second)])
    rows = np.arange(0, 80, 2)
    assert answers.score(1, rows) == pytest.approx(scoring.metrics(second[rows], labels[rows])[metric])
    assert answers.score(0, rows[:0]) == 0.0


@pytest.mark.parametrize("classes", [1, 2, 4, 5])
def test_of_at_most_five_classes_the_right_one_is_always_among_five(classes: int) -> None:
    assert scoring.metrics(*draw(classes, 30, 0))["top5"] == 1.0


def test_a_tie_counts_against_the_classifier_in_top5() -> None:
    """One that gives every class the same logit knows nothing, and gets nothing."""
    labels = np.arange(8)
    assert scoring.top5(np.zeros((8, 8), np.float32), labels) == 0.0
    logits = np.tile(np.float32([9, 8, 7, 6, 5, 5, 0, 0]), (8, 1))  # the fifth place is shared
    assert scoring.top5(logits, labels) == 4 / 8


def test_of_tied_best_classes_the_first_is_the_guess() -> None:
    logits = np.float32([[1, 1, 0], [1, 1, 0], [0, 2, 2]])
    assert scoring.metrics(logits, np.array([0, 1, 1]))["accuracy"] == 2 / 3


def test_integer_logits_with_many_ties_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(3, size=(300, 7)).astype(np.float32), rng.integers(7, size=300)
    found = scoring.metrics(logits, labels)
    assert found["accuracy"] == sklearn_metrics.accuracy_score(labels, logits.argmax(1))
    assert found["mean_per_class"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, logits.argmax(1)))


def test_a_class_without_images_is_left_out_of_the_mean_per_class() -> None:
    logits = np.eye(4, dtype=np.float32)[[0, 0, 2, 0]]
    assert scoring.metrics(logits, np.array([0, 0, 2, 2]))["mean_per_class"] == (1.0 + 0.5) / 2


def test_the_likelihood_of_huge_logits_is_finite() -> None:
    found = scoring.metrics(np.float32([[1e30, 0], [0, 1e30]]), np.array([0, 0]))
    assert found["nll"] == pytest.approx(5e29, rel=1e-6)
    assert found["ece"] == pytest.approx(0.5)


def test_log_softmax_is_torchs() -> None:
    logits, _ = draw(10, 20, 0)
    expected = torch.from_numpy(logits.astype(np.float64)).log_softmax(1).numpy()
    np.testing.assert_allclose(scoring.log_softmax(logits), expected, rtol=1e-12, atol=1e-12)


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    assert scoring.expected_calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == pytest.approx(0.5)


def test_hits_are_the_same_for_numpy_and_torch() -> None:
    logits, labels = np.random.default_rng(0).normal(size=(3, 20, 5)), np.random.default_rng(1).integers(5, size=20)
    here, there = scoring.hits(logits, labels), scoring.hits(torch.from_numpy(logits), labels)
    assert here.shape == (3, 20)
    assert here.tolist() == there.tolist() == (logits.argmax(-1) == labels).tolist()


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_guesses_of_a_tensor_on_the_cpu_are_an_array_and_the_first_of_equals(kind: torch.dtype) -> None:
    logits = torch.tensor([[[1, 1, 0], [0, 2, 2], [3, 3, 3]]], dtype=kind, requires_grad=True)
    found = scoring.guesses(logits)
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[0, 1, 0]]
