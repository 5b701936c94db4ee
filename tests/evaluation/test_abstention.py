"""The mark "unsure": its threshold by trying all of them, the error that it promises, and the curve by hand."""

import numpy as np
import pytest

from tests.evaluation.logits import drawn
from workflow.lib.evaluation import abstention, scoring


def answers(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = drawn(images, seed=seed)
    probability = np.exp(scoring.log_softmax(logits))
    return probability.max(1), probability.argmax(1) == labels


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("digits", [1, 2, 16])  # rounded, many are equal
def test_the_threshold_is_the_lowest_that_keeps_the_error(seed: int, digits: int) -> None:
    confidence, right = answers(200, seed)
    confidence = confidence.round(digits)
    for error in (0.02, 0.1, 0.3):
        allowed = [
            at
            for at in confidence
            if (~right[confidence >= at]).sum() + 1 <= error * ((confidence >= at).sum() + 1) + 1e-9
        ]
        assert abstention.threshold(confidence, right, error) == min(allowed, default=np.inf)


def test_few_images_promise_nothing() -> None:
    confidence = np.linspace(0.5, 1, 40)
    assert abstention.threshold(confidence[:18], np.ones(18, bool), 0.05) == np.inf
    assert abstention.threshold(confidence[:19], np.ones(19, bool), 0.05) == 0.5
    assert abstention.threshold(confidence[:0], np.ones(0, bool), 0.05) == np.inf
    assert abstention.threshold(confidence, np.zeros(40, bool), 0.05) == np.inf


@pytest.mark.parametrize(("images", "error"), [(60, 0.1), (300, 0.05), (300, 0.2)])
def test_the_error_among_the_answered_is_kept_on_average(images: int, error: float) -> None:
    """Over draws of one law; without the one answer more that is taken as wrong, it would not be."""
    wrong = []
    for seed in range(300):
        confidence, right = answers(images + 2000, seed)
        at = abstention.threshold(confidence[:images], right[:images], error)
        wrong.append(abstention.answered(confidence[images:], right[images:], at)[1])
    assert np.mean(wrong) <= error + 2 * np.std(wrong) / 300**0.5
    assert np.mean(wrong) > error / 4  # and not for nothing


def test_what_is_answered_and_how_much_of_it_is_wrong() -> None:
    confidence, right = np.array([0.9, 0.8, 0.8, 0.4]), np.array([True, False, True, False])
    assert abstention.answered(confidence, right, 0.8) == (0.75, pytest.approx(1 / 3))
    assert abstention.answered(confidence, right, np.inf) == (0.0, 0.0)


def test_the_curve_by_hand_with_equal_confidences() -> None:
    curve = abstention.risk_coverage(np.array([0.9, 0.5, 0.9, 0.2]), np.array([True, False, False, True]))
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == [0.5, 0.5, pytest.approx(2 / 3), 0.5]
    assert curve.area == pytest.approx(np.mean([0.5, 0.5, 2 / 3, 0.5]))


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_the_error_above_every_threshold(seed: int) -> None:
    confidence, right = answers(150, seed)
    curve = abstention.risk_coverage(confidence, right)
    for at in confidence:
        share, error = abstention.answered(confidence, right, at)
        assert curve.risk[round(share * 150) - 1] == pytest.approx(error)
    assert curve.risk[-1] == pytest.approx((~right).mean())
