"""Images of no class: distances against scikit-learn's neighbours, and how often an image of a class is marked."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from workflow.lib.evaluation import outliers


def cloud(images: int, seed: int, classes: int = 4, apart: float = 3.0) -> np.ndarray:
    """Features around class centres that stay where they are."""
    centres = np.random.default_rng(99).normal(size=(classes, 16)) * apart
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(classes, size=images)] + rng.normal(size=(images, 16))).astype(np.float32)


@pytest.mark.parametrize("images", [30, 500])
@pytest.mark.parametrize("neighbours", [1, 3])
def test_distances_are_those_of_scikit_learn(neighbours: int, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outliers, "_SLICE", 7)
    support, x = cloud(images, 0), cloud(50, 1)
    nearest = NearestNeighbors(n_neighbors=neighbours, metric="cosine").fit(support)
    expected = nearest.kneighbors(x)[0][:, -1]
    assert outliers.distances(x, support, neighbours) == pytest.approx(expected, abs=1e-6)
    others = nearest.kneighbors()[0][:, -1]  # without arguments, an image is no neighbour of itself
    assert outliers.within(support, neighbours) == pytest.approx(others, abs=1e-6)


def test_an_image_of_a_class_is_seldom_marked_and_one_of_none_mostly() -> None:
    alarms, found = [], []
    for seed in range(40):
        support = cloud(80, seed)
        at = outliers.threshold(support, false_alarms=0.1)
        alarms.append((outliers.distances(cloud(300, 1000 + seed), support) > at).mean())
        strange = np.random.default_rng(seed).normal(size=(300, 16))
        found.append((outliers.distances(strange.astype(np.float32), support) > at).mean())
    assert np.mean(alarms) == pytest.approx(0.1, abs=0.03)
    assert np.mean(found) > 0.9


def test_few_images_mark_nothing() -> None:
    assert outliers.threshold(cloud(18, 0), false_alarms=0.05) == np.inf
    assert np.isfinite(outliers.threshold(cloud(19, 0), false_alarms=0.05))
    assert outliers.threshold(cloud(1, 0)) == np.inf


def test_more_neighbours_than_there_are_is_the_farthest() -> None:
    support, x = cloud(3, 0), cloud(5, 1)
    assert (outliers.distances(x, support, 10) == outliers.distances(x, support, 3)).all()
    assert np.isfinite(outliers.within(support, 10)).all()


def test_no_images_have_no_distances() -> None:
    assert outliers.distances(np.zeros((0, 16), np.float32), cloud(5, 0)).shape == (0,)


def test_of_two_images_each_is_the_other_s_neighbour_and_one_alone_has_none() -> None:
    pair = np.array([[2, 0], [3, 4]], np.float32)  # at a cosine of 3 / 5
    assert outliers.within(pair) == pytest.approx([0.4, 0.4])
    assert outliers.within(pair[:1]).tolist() == [np.inf]


def test_no_distance_is_below_0_though_cosines_are_rounded() -> None:
    support = cloud(300, 0)
    found = outliers.distances(support, support)
    assert found.min() == 0
    assert found == pytest.approx(0, abs=1e-6)
