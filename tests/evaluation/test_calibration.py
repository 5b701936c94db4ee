"""Temperature and isotonic regression, each against scikit-learn's own, and what they do with few images."""

from typing import Any, Self

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional import classification

from methods.contract.base import Floats, Labels
from tests.evaluation.logits import drawn
from workflow.lib.evaluation import calibration, scoring


class Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of scikit-learn's whose inputs are its own answers, as probabilities."""

    def fit(self, x: Floats, y: Labels) -> Self:
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: Floats) -> Labels:
        return np.asarray(self.classes_[x.argmax(1)])

    def predict_proba(self, x: Floats) -> Floats:
        return x


class GivenLogits(Given):
    """The same, as logits: scikit-learn takes these where there are both."""

    def decision_function(self, x: Floats) -> Floats:
        return x


def in_sklearn(given: Given, x: NDArray[Any], labels: Labels, method: str) -> NDArray[Any]:
    """The probabilities `(M, K)` of scikit-learn's calibration by `method`, fitted to them and applied to them."""
    frozen = FrozenEstimator(given.fit(x, labels))
    found = CalibratedClassifierCV(frozen, method=method, ensemble=False).fit(x, labels)
    return np.asarray(found.predict_proba(x))


@pytest.mark.parametrize("sharpness", [0.02, 1.0, 7.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_temperature_is_scikit_learns(sharpness: float, seed: int) -> None:
    logits, labels = drawn(400, seed=seed, sharpness=sharpness)
    found = calibration.temperature(logits, labels, wrong=0)
    ours = np.exp(calibration.scaled(logits, found))
    assert ours == pytest.approx(in_sklearn(GivenLogits(), logits, labels, "temperature"), abs=2e-4)


@pytest.mark.parametrize("wrong", [0.0, 1.0, 3.0])
def test_of_two_classes_it_is_a_logistic_regression_on_their_difference(wrong: float) -> None:
    """The images that are taken as wrong are all images once more, of the other class and with a small weight each."""
    logits, labels = drawn(60, classes=2, seed=1)
    difference = (logits[:, 1] - logits[:, 0])[:, None]
    x, y = np.concatenate([difference] * 2), np.concatenate([labels, logits.argmin(1)])
    weights = np.repeat([1, wrong / len(labels)], len(labels))
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    regression.fit(x, y, sample_weight=weights)
    expected = 1 / regression.coef_.item()
    assert calibration.temperature(logits, labels, wrong=wrong) == pytest.approx(expected, rel=1e-3)


def test_it_finds_the_temperature_that_labels_were_drawn_at() -> None:
    for sharpness in (0.05, 1.0, 12.0):
        logits, labels = drawn(20_000, seed=3, sharpness=sharpness)
        assert calibration.temperature(logits, labels) == pytest.approx(sharpness, rel=0.05)


def test_it_does_not_depend_on_the_scale_or_the_offset_of_logits() -> None:
    logits, labels = drawn(300, seed=4)
    found = calibration.temperature(logits, labels)
    shifted = calibration.temperature(1000 * logits + np.float32(50), labels)
    assert shifted == pytest.approx(1000 * found, rel=1e-3)


@pytest.mark.parametrize("images", [5, 20, 200])
def test_images_that_are_all_right_do_not_make_it_certain(images: int) -> None:
    """As with the rule of succession: the mean chance of an error is near 1 / images, and never 0."""
    rng = np.random.default_rng(images)
    labels = rng.integers(5, size=images)
    logits = (rng.normal(size=(images, 5)) / 2 + 4 * np.eye(5)[labels]).astype(np.float32)
    assert (logits.argmax(1) == labels).all()
    sure = np.exp(calibration.scaled(logits, calibration.temperature(logits, labels))).max(1)
    assert 0.3 / images < 1 - sure.mean() < 3 / images


def test_images_that_are_all_wrong_make_it_say_that_it_knows_nothing() -> None:
    logits, _ = drawn(100, seed=6)
    labels = logits.argmin(1)
    probability = np.exp(calibration.scaled(logits, calibration.temperature(logits, labels)))
    assert probability == pytest.approx(np.full_like(probability, 1 / 5), abs=1e-2)


def test_what_tells_nothing_keeps_its_probabilities() -> None:
    assert calibration.temperature(np.ones((4, 3), np.float32), np.array([0, 1, 2, 0])) == 1.0
    assert calibration.temperature(np.ones((0, 3), np.float32), np.zeros(0, np.int64)) == 1.0


def test_of_many_logits_a_part_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = drawn(4000, seed=7, sharpness=2)
    monkeypatch.setattr(calibration, "ENOUGH", logits.size // 2)
    assert calibration.temperature(logits, labels) == calibration.temperature(logits[::2], labels[::2])


def test_large_logits_are_kept_in_half_precision_by_their_distance_from_the_largest() -> None:
    """As they are, float16 knows them to a whole number at 2000 and not at all at 100 000."""
    logits, _ = drawn(50, seed=5)
    for offset in (0.0, 2000.0, 1e5):
        found = calibration.compact(logits + np.float32(offset))
        assert found.dtype == np.float16
        assert found.max(1).tolist() == [0] * 50
        assert found == pytest.approx(logits - logits.max(1, keepdims=True), abs=0.02)
    assert np.isfinite(calibration.compact(np.array([[1e6, 0.0]], np.float32))).all()


def test_isotonic_regression_is_scikit_learns_before_the_image_of_any_class() -> None:
    logits, labels = drawn(300, seed=8, sharpness=3)
    log_probability = scoring.log_softmax(logits)
    ours = np.exp(calibration.isotonic(log_probability, labels)(log_probability))
    expected = in_sklearn(Given(), np.exp(log_probability), labels, "isotonic")
    assert ours == pytest.approx((300 * expected + 1 / 5) / 301, abs=1e-9)
    assert ours.sum(1) == pytest.approx(np.ones(300))


def test_where_every_map_gives_0_all_classes_are_as_likely_without_a_warning() -> None:
    nothing = (np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    with np.errstate(all="raise"):
        found = calibration.Isotonic([nothing] * 4, images=10)(np.log(np.array([[0.1, 0.2, 0.3, 0.4]])))
    assert np.exp(found) == pytest.approx(np.full((1, 4), 0.25))


def test_isotonic_regression_knows_no_certainty_and_no_class_without_images() -> None:
    logits, labels = drawn(50, seed=9)
    fitted = calibration.isotonic(scoring.log_softmax(logits), np.minimum(labels, 3))
    found = np.exp(fitted(scoring.log_softmax(drawn(200, seed=10)[0])))
    assert found.min() > 0
    assert found[:, 4] == pytest.approx(np.full(200, 1 / 5 / 51))


def test_calibration_helps_on_images_that_it_has_not_seen() -> None:
    held, own = drawn(2000, seed=11, sharpness=5)
    logits, labels = drawn(5000, seed=12, sharpness=5)
    found = calibration.temperature(held, own)
    before, tempered = scoring.log_softmax(logits), calibration.scaled(logits, found)
    by_class = calibration.isotonic(calibration.scaled(held, found), own)(tempered)
    for after in (tempered, by_class):
        old, new = calibration.quality(before, labels), calibration.quality(after, labels)
        assert new["nll"] < old["nll"] / 2
        assert new["ece"] < 0.03 < old["ece"]
        assert new["brier"] < old["brier"]


def test_quality_is_what_torchmetrics_says() -> None:
    logits, labels = drawn(500, seed=13)
    log_probability = calibration.scaled(logits, 1.7)
    x, y = torch.from_numpy(np.exp(log_probability)), torch.from_numpy(labels)
    found = calibration.quality(log_probability, labels)
    assert found["nll"] == pytest.approx(float(torch.nn.functional.nll_loss(torch.log(x), y)))
    assert found["ece"] == pytest.approx(
        float(classification.multiclass_calibration_error(x, y, 5, n_bins=15)), abs=1e-6
    )
    one_hot = torch.nn.functional.one_hot(y, 5)
    assert found["brier"] == pytest.approx(float(((x - one_hot) ** 2).sum(1).mean()))


def test_a_reliability_diagram_is_scikit_learns_and_adds_up_to_the_ece() -> None:
    logits, labels = drawn(500, seed=14, sharpness=2)
    probability = np.exp(scoring.log_softmax(logits))
    confidence, right = probability.max(1), probability.argmax(1) == labels
    found = calibration.reliability(confidence, right)
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    full = found.images > 0
    assert found.accuracy[full] == pytest.approx(accuracy)
    assert found.confidence[full] == pytest.approx(mean)
    gap = np.nansum(found.images * np.abs(found.accuracy - found.confidence)) / 500
    assert gap == pytest.approx(scoring.expected_calibration_error(confidence, right))
