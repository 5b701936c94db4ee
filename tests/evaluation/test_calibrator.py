"""What held-out images say of a classifier, together: the sets' level with a temperature from the same images."""

import numpy as np
import pytest

from tests.evaluation.logits import drawn
from workflow.lib.evaluation import calibration, calibrator, conformal
from workflow.lib.evaluation.calibrator import Settings


def test_sets_keep_their_level_though_the_temperature_is_from_the_same_images() -> None:
    covered, n, m = [], 40, 400
    for seed in range(300):
        logits, labels = drawn(n + m, seed=seed, sharpness=4)
        fitted = calibrator.fit(logits[:n], labels[:n], Settings(level=0.9))
        covered.append(calibrator.judged(fitted, logits[n:], labels[n:])["covered"].mean())
    low, high = conformal.band([(n, m)], 0.9)
    assert np.mean(covered) == pytest.approx(conformal.rank(n, 0.9) / (n + 1), abs=0.01)
    assert np.mean([low <= one <= high for one in covered]) > 0.91


def test_what_is_said_of_images_adds_up_to_the_measures() -> None:
    held, own = drawn(200, seed=0, sharpness=3)
    logits, labels = drawn(300, seed=1, sharpness=3)
    for method in calibrator.CALIBRATIONS:
        fitted = calibrator.fit(held, own, Settings(method=method))
        found = calibrator.judged(fitted, logits, labels)
        expected = calibration.quality(fitted.calibrated(fitted.tempered(logits)), labels)
        assert found["nll"].mean() == pytest.approx(expected["nll"])
        assert found["brier"].mean() == pytest.approx(expected["brier"])
        assert found["covered_mondrian"].mean() > 0.8
        assert found["set_size"].mean() < 5
    assert fitted.isotonic is not None
    assert fitted.counts.tolist() == np.bincount(own).tolist()


def test_sets_and_unsure_are_the_same_with_isotonic_probabilities() -> None:
    held, own = drawn(200, seed=2)
    plain, isotonic = (calibrator.fit(held, own, Settings(method=method)) for method in calibrator.CALIBRATIONS)
    assert plain.unsure == isotonic.unsure
    assert (plain.mondrian == isotonic.mondrian).all()


def test_too_few_images_answer_nothing_and_put_everything_into_sets() -> None:
    held, own = drawn(5, seed=3)
    fitted = calibrator.fit(held, own, Settings())
    found = calibrator.judged(fitted, *drawn(50, seed=4))
    assert not found["answered"].any()
    assert (found["set_size"] == 5).all()
    assert np.isfinite(found["nll"]).all()
