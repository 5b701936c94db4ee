"""Suspected labels: swapped ones are found, the rule is that of the paper, and classes of one image are left out."""

import numpy as np
import pytest

from methods.contract.base import unit
from workflow.lib.evaluation import label_errors
from workflow.lib.evaluation.label_errors import fold_of, suspects


def clusters(sizes: list[int], noise: float = 0.5, dim: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images around one centre for each class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = rng.normal(size=(len(sizes), dim))
    return (centres[labels] + noise * rng.normal(size=(len(labels), dim))).astype(np.float32), labels


def test_labels_that_were_swapped_are_found_first() -> None:
    x, truth = clusters([30] * 5)
    swapped = np.array([3, 50, 77, 140])
    labels = truth.copy()
    labels[swapped] = (truth[swapped] + 2) % 5
    found = suspects(x, np.arange(150), labels, 5)
    assert set(found.places[:4].tolist()) == set(swapped.tolist())
    first = dict(zip(found.places.tolist(), found.confident.tolist(), strict=True))
    assert all(first[place] == truth[place] for place in swapped)
    assert found.labels.tolist() == labels[found.places].tolist()
    assert (np.diff(found.own - found.other) >= 0).all()
    assert len(found.places) <= 6
    assert 0.9 < found.accuracy <= 1


def test_the_rule_is_that_of_confident_learning() -> None:
    """Against a loop over images, from the same probabilities: thresholds of each class, off-diagonal."""
    x, labels = clusters([25, 25, 25, 25], noise=1.6, seed=1)
    found = label_errors._OutOfFold(x, np.arange(100), labels)
    probability = np.empty((100, 4))
    for at, some in found.probabilities():
        probability[at] = some
    bounds = [probability[labels == k, k].mean() for k in range(4)]
    expected = []
    for i in range(100):
        confident = [k for k in range(4) if probability[i, k] >= bounds[k]]
        if confident and max(confident, key=lambda k: probability[i, k]) != labels[i]:
            expected.append(i)
    assert len(expected) > 3
    assert sorted(suspects(x, np.arange(100), labels, 4).places.tolist()) == expected


def test_cleanlab_lists_the_same_images_in_the_same_order() -> None:
    """Its `find_label_issues(filter_by="confident_learning", return_indices_ranked_by="normalized_margin")`, 2.9.0."""
    x, labels = clusters([25, 30, 25, 40], noise=1.6, seed=1)
    assert suspects(x, np.arange(120), labels, 4).places.tolist() == [41, 18, 114, 36, 109, 92, 81, 107]


def test_probabilities_are_of_images_that_the_classifier_has_not_seen() -> None:
    """Against the same Gaussians by scikit-learn, fitted without each fold."""
    from sklearn.covariance import oas
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, labels = clusters([20, 30, 25], noise=1.5, seed=2)
    mine = label_errors._OutOfFold(x, np.arange(75), labels)
    folds, rows = fold_of(labels), unit(x).astype(np.float64)
    temperature = mine._temperature
    for at, probability in mine.probabilities():
        (fold,) = np.unique(folds[at])
        inside = folds != fold
        means = np.stack([rows[inside & (labels == k)].mean(0) for k in range(3)])
        apart = rows[inside] - means[labels[inside]]
        pooled = apart.T @ apart / (inside.sum() - 3)
        shrunk = label_errors._shrunk(pooled, int(inside.sum()) - 3)
        other = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_Fixed(shrunk))
        other.fit(rows[inside], labels[inside])
        logits = rows[at] @ other.coef_.T + other.intercept_
        scaled = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
        assert probability == pytest.approx(scaled / scaled.sum(1, keepdims=True), abs=1e-4)
    assert oas(rows)[0].shape == (16, 16)


class _Fixed:
    """A covariance estimator for scikit-learn that has been told the answer."""

    def __init__(self, covariance: np.ndarray) -> None:
        self.covariance_ = covariance

    def fit(self, x: np.ndarray) -> "_Fixed":
        return self


def test_the_shrinkage_is_scikit_learn_s() -> None:
    from sklearn.covariance import oas

    x = np.random.default_rng(0).normal(size=(40, 10)) * np.arange(1, 11)
    x -= x.mean(0)
    assert label_errors._shrunk(x.T @ x / 40, 40) == pytest.approx(oas(x, assume_centered=True)[0], rel=1e-3)


def test_a_class_of_one_image_is_left_out_and_told() -> None:
    x, labels = clusters([10, 1, 10])
    found = suspects(x, np.arange(21), labels, 3)
    assert found.alone.tolist() == [1]
    assert found.images == 20
    assert 10 not in found.places


@pytest.mark.parametrize("sizes", [[1, 1, 1], [5], [9, 1]])
def test_without_two_classes_of_two_images_nothing_is_done(sizes: list[int]) -> None:
    x, labels = clusters(sizes)
    found = suspects(x, np.arange(len(labels)), labels, len(sizes))
    assert found.images == 0
    assert len(found.places) == 0


def test_rows_are_those_of_the_features_and_places_those_of_the_rows() -> None:
    x, labels = clusters([20] * 3)
    rows = np.arange(60)[::-1].copy()
    wrong = labels[rows].copy()
    wrong[0] = 0  # the last image, of class 2
    found = suspects(x, rows, wrong, 3)
    assert found.places[0] == 0
    assert found.confident[0] == 2


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters([25] * 4, noise=1.6)
    whole = suspects(x, np.arange(100), labels, 4)
    monkeypatch.setattr(label_errors, "_SLICE", 7)
    sliced = suspects(x, np.arange(100), labels, 4)
    assert whole.places.tolist() == sliced.places.tolist()
    assert whole.own == pytest.approx(sliced.own, abs=1e-5)


def test_folds_leave_images_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [2, 7, 3])
    folds = fold_of(labels)
    for k in range(3):
        assert len(np.unique(folds[labels == k])) > 1


def test_features_that_are_all_the_same_are_no_mistake() -> None:
    found = suspects(np.ones((20, 4), np.float32), np.arange(20), np.arange(20) % 2, 2)
    assert found.images == 20
