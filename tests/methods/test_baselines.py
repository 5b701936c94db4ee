"""The plain baselines are scikit-learn's, by another route or called plainly."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import LinearSVC

from methods import Method, unit
from methods import knn as module
from methods.knn import NearestNeighbours
from methods.linear_svm import STRENGTHS, LinearSVM
from methods.nearest_mean import NearestMean
from methods.ridge import Ridge
from tests.methods.conftest import Easy

BASELINES = [NearestMean, Ridge, NearestNeighbours, LinearSVM]


@pytest.mark.parametrize("method", BASELINES)
def test_they_need_images_alone(method: type[Method]) -> None:
    assert method().needs(method.defaults({})) == {"image"}


@pytest.mark.parametrize("method", BASELINES)
def test_they_solve_an_easy_problem(method: type[Method], easy_of: Callable[..., Easy]) -> None:
    assert easy_of(counts=[8] * 5).accuracy(method) > 0.9


# --- nearest mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2)])
def test_nearest_mean_is_the_cosine_to_each_mean(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=counts)
    for k, found in enumerate(easy.logits(NearestMean).T):
        mean = np.mean([x for x, y in zip(easy.support.x, easy.support.y, strict=True) if y == k], axis=0)
        expected = [easy.task.logit_scale * (query @ mean) / np.sqrt(mean @ mean) for query in easy.queries]
        assert found == pytest.approx(expected, rel=1e-4)


def test_nearest_mean_decides_as_scikit_learns_centroids_made_unit(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(9, 4, 5), noise=1.5)
    plain = NearestCentroid().fit(easy.support.x, easy.support.y)
    plain.centroids_ = unit(plain.centroids_)
    assert np.array_equal(easy.logits(NearestMean).argmax(1), plain.predict(easy.queries))


# --- ridge -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("counts", [(4, 4, 4), (1, 1), (5, 1, 2), (20, 9)])
def test_ridge_is_scikit_learns(alpha: float, counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=counts, noise=1.5)
    plain = RidgeClassifier(alpha=alpha).fit(easy.support.x.astype(float), easy.support.y)
    expected = plain.decision_function(easy.queries.astype(float))
    if len(counts) == 2:  # scikit-learn gives the second class alone
        expected = np.stack([-expected, expected], axis=1)
    assert easy.logits(Ridge, alpha=alpha) == pytest.approx(expected, abs=1e-4)


def test_every_point_of_the_grid_of_ridge_is_that_fit(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(choosing=True)
    points = easy.points(Ridge)
    assert (len(points), points[-1][0]) == (26, {"alpha": 1.0})
    for point, logits in points[::6]:
        plain = RidgeClassifier(alpha=point["alpha"]).fit(easy.support.x.astype(float), easy.support.y)
        assert logits == pytest.approx(plain.decision_function(easy.queries.astype(float)), abs=1e-3)


def test_a_heavy_penalty_leaves_the_shares_of_the_classes(easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=(5, 1, 2))
    expected = 2 * np.array([5, 1, 2]) / 8 - 1
    assert easy.logits(Ridge, alpha=1e9) == pytest.approx(np.tile(expected, (30, 1)), abs=1e-5)


# --- k nearest neighbours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"k": 1}, {"k": 5}, {"k": 5, "vote": "soft"}, {"k": 12, "vote": "soft"}])
@pytest.mark.parametrize("counts", [(4, 4, 4), (9, 1, 5)])
def test_neighbours_vote_as_scikit_learns_do(
    settings: Mapping[str, Any], counts: tuple[int, ...], easy_of: Callable[..., Easy]
) -> None:
    easy = easy_of(counts=counts, noise=1.5)
    weights = "distance" if settings.get("vote") == "soft" else "uniform"
    plain = KNeighborsClassifier(settings["k"], weights=weights).fit(easy.support.x, easy.support.y)
    votes = np.exp(easy.logits(NearestNeighbours, **settings))
    assert votes / votes.sum(1, keepdims=True) == pytest.approx(plain.predict_proba(easy.queries), abs=2e-3)


def test_of_two_classes_with_as_many_votes_the_nearer_wins() -> None:
    """Images of class 1 and 0 in this order of nearness: scikit-learn would say 0."""
    easy = Easy.of([[1, 0.1], [1, 0.5]], [1, 0], [[1, 0]])
    assert easy.logits(NearestNeighbours, k=2).argmax(1).tolist() == [1]


@pytest.mark.parametrize("vote", ["hard", "soft"])
def test_with_one_image_of_each_class_it_is_the_nearest_image(vote: str, easy_of: Callable[..., Easy]) -> None:
    easy = easy_of(counts=[1] * 7, noise=1.5)
    expected = easy.support.y[(easy.queries @ easy.support.x.T).argmax(1)]
    for k in (1, 3, 5, 100):
        assert np.array_equal(easy.logits(NearestNeighbours, k=k, vote=vote).argmax(1), expected)


def test_an_image_that_is_the_query_decides_softly(easy: Easy) -> None:
    same = Easy(easy.task, easy.support.x, easy.support.y)
    logits = same.logits(NearestNeighbours, k=12, vote="soft")
    assert np.isfinite(logits).all()
    assert np.array_equal(logits.argmax(1), easy.support.y)


def test_slices_of_queries_change_nothing(easy: Easy, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = easy.logits(NearestNeighbours)
    monkeypatch.setattr(module, "SLICE", 7 * len(easy.support.y))
    assert easy.logits(NearestNeighbours) == pytest.approx(whole, rel=1e-5)


def test_every_k_of_the_grid_is_that_many_neighbours(easy_of: Callable[..., Easy]) -> None:
    choosing, plain = easy_of(choosing=True, noise=1.5), easy_of(noise=1.5)
    for point, logits in choosing.points(NearestNeighbours):
        assert np.array_equal(logits, plain.logits(NearestNeighbours, k=point["k"]))


# --- linear SVM ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(4, 4, 4), (5, 1, 2), (6, 3)])
def test_the_svm_is_scikit_learns_called_plainly(counts: tuple[int, ...], easy_of: Callable[..., Easy]) -> None:
    """Through its dual problem, which has the same optimum."""
    easy = easy_of(counts=counts, noise=1.5)
    plain = LinearSVC(C=0.7, dual=True, tol=1e-8, max_iter=100_000, random_state=0).fit(easy.support.x, easy.support.y)
    expected = plain.decision_function(easy.queries)
    if len(counts) == 2:
        expected = np.stack([-expected, expected], axis=1)
    assert easy.logits(LinearSVM, C=0.7) == pytest.approx(expected, abs=1e-2)


def test_where_the_protocol_chooses_there_is_a_candidate_for_each_strength(easy_of: Callable[..., Easy]) -> None:
    points = [point["C"] for point, _ in easy_of(choosing=True).points(LinearSVM)]
    assert points == [*STRENGTHS, 1.0]


def test_an_svm_that_stops_early_says_so(easy: Easy) -> None:
    assert easy.notes(LinearSVM, max_iter=1)[-1] == "not converged after 1 iterations"
    assert easy.notes(LinearSVM) == [""]
