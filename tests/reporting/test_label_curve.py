"""More labels: the law is found again in errors that follow it, held to a search, and refused where it must be."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from workflow.lib.reporting import label_curve, label_figure
from workflow.lib.reporting.label_curve import Curve, Law, curve, fit
from workflow.lib.reporting.statistics import Bootstrap, Terms, bootstrap

IMAGES = np.array([10.0, 20, 50, 100, 400])
TRUE = Law(0.12, 0.5, 0.08, 400)


def drawn(errors: np.ndarray, seeds: int = 5, queries: int = 1500) -> list[tuple[float, Bootstrap, int]]:
    """One row that errs so often with so many labelled images."""
    rng = np.random.default_rng(0)
    hits = [rng.random((seeds, queries)) > error for error in errors]
    places = [[Terms(one.astype(float), np.zeros(seeds), float(queries))] for one in hits]
    made = bootstrap(places, name="x", resamples=400)
    return [(images, one, 0) for images, one in zip(IMAGES, made, strict=False)]


def test_a_law_is_found_again_in_errors_that_follow_it() -> None:
    found = fit(IMAGES, TRUE.error(IMAGES))
    assert (found.fall, found.power, found.floor) == pytest.approx((0.12, 0.5, 0.08), abs=1e-3)
    assert found.error(np.array([1600.0])) == pytest.approx(TRUE.error(np.array([1600.0])), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_the_best_of_a_search_over_all_powers(seed: int) -> None:
    """For a given power the law is linear in the other two: SciPy's non-negative least squares solves that."""
    from scipy.optimize import nnls

    errors = TRUE.error(IMAGES) + 0.02 * np.random.default_rng(seed).standard_normal(5)
    powers = np.geomspace(0.01, 5, 2000)
    columns = [np.stack([(IMAGES / 400) ** -power, np.ones(5)], axis=1) for power in powers]
    best = min(nnls(one, errors)[1] for one in columns)
    found = fit(IMAGES, errors)
    assert np.linalg.norm(found.error(IMAGES) - errors) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(("true", "expected"), [(8.0, 5.0), (0.001, 0.01)])
def test_no_power_is_outside_of_its_bounds(true: float, expected: float) -> None:
    """0.01 to 5, whether of the fit or of the search: the errors fall faster than that, or hardly."""
    images = np.array([10.0, 11, 12, 13, 14])
    errors = Law(0.1, true, 0.0, 14).error(images)
    assert fit(images, errors).power == pytest.approx(expected, rel=1e-3)
    (law,) = label_curve.search(images, errors[:, None], np.ones(5))
    assert law.power == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_search_for_many_errors_at_once_finds_what_the_fit_does(noise: float) -> None:
    errors = np.abs(TRUE.error(IMAGES)[:, None] + noise * np.random.default_rng(1).standard_normal((5, 30)))
    spread = np.array([2.0, 1, 1, 0.7, 0.5])
    for i, law in enumerate(label_curve.search(IMAGES, errors, spread)):
        alone = fit(IMAGES, errors[:, i], spread)
        missed, missed_alone = (np.linalg.norm((one.error(IMAGES) - errors[:, i]) / spread) for one in (law, alone))
        assert missed == pytest.approx(missed_alone, abs=1e-3)
        more = np.array([800.0])
        assert law.error(more) == pytest.approx(alone.error(more), abs=5e-3)


def test_a_curve_expects_what_is_true_of_more_labels() -> None:
    found = curve(drawn(TRUE.error(IMAGES)))
    assert found.reason == ""
    for times in (2, 4):
        (middle,), (low,), (high,) = found.expected(np.array([times * 400.0]))
        truth = 1 - TRUE.error(np.array([times * 400.0]))[0]
        assert low <= truth <= high
        assert abs(middle - truth) < 0.03
        assert high - low < 0.15
    assert found.check == pytest.approx(found.values[-1], abs=0.05)


def test_the_misfit_is_the_largest_gap_between_law_and_values() -> None:
    found = curve(drawn(TRUE.error(IMAGES)))
    law = found.law
    assert law is not None
    gaps = [
        abs(1 - (law.fall * (n / 400) ** -law.power + law.floor) - value)
        for n, value in zip(IMAGES, found.values, strict=True)
    ]
    assert found.misfit == pytest.approx(max(gaps))
    assert max(gaps) > 2 * min(gaps)


def test_the_same_draws_give_the_same_curve() -> None:
    one, again = (curve(drawn(TRUE.error(IMAGES))).expected(np.array([800.0])) for _ in "ab")
    assert one.tolist() == again.tolist()


def test_a_number_of_shots_that_is_known_well_weighs_more() -> None:
    """As SciPy's `curve_fit` has it, from the same start."""
    from scipy.optimize import curve_fit

    errors = TRUE.error(IMAGES) + np.array([0.03, -0.02, 0.02, 0.01, -0.01])
    spread = np.array([0.05, 0.03, 0.02, 0.01, 0.005])
    law = (lambda n, a, b, c: a * (n / 400) ** -b + c), IMAGES, errors
    found, _ = curve_fit(*law, (0.05, 0.5, 0.05), spread, bounds=([0, 0.01, 0], [1, 5, 1]))
    mine = fit(IMAGES, errors, spread)
    assert (mine.fall, mine.power, mine.floor) == pytest.approx(tuple(found), abs=1e-3)
    assert abs(mine.error(IMAGES)[-1] - errors[-1]) < abs(fit(IMAGES, errors).error(IMAGES)[-1] - errors[-1])


def test_three_numbers_of_shots_are_too_few() -> None:
    found = curve(drawn(TRUE.error(IMAGES[:3])))
    assert found.law is None
    assert "3 numbers of labelled images" in found.reason
    with pytest.raises(ValueError, match="no law"):
        found.expected(np.array([1.0]))


def test_all_shots_that_are_as_many_as_another_number_count_once() -> None:
    places = drawn(TRUE.error(IMAGES))[:4]
    doubled = [*places[:3], (places[2][0], places[3][1], 0)]
    assert "3 numbers" in curve(doubled).reason


def test_errors_that_don_t_fall_have_no_law() -> None:
    assert "no trend" in curve(drawn(np.full(5, 0.3))).reason
    assert "no trend" in curve(drawn(np.linspace(0.2, 0.4, 5))).reason


def test_four_numbers_of_shots_leave_none_to_check_with() -> None:
    found = curve(drawn(TRUE.error(IMAGES[:4])))
    assert found.law is not None
    assert found.check is None
    assert len(found.draws) == label_curve.RESAMPLES


def test_a_place_without_labels_has_no_part_in_it() -> None:
    places = drawn(TRUE.error(IMAGES))
    found = curve([(0.0, places[0][1], 0), (1.0, places[0][1], 0), *places])
    assert found.images.tolist() == [1, *IMAGES]


def test_the_figure_marks_what_is_expected_of_more_labels() -> None:
    found = curve(drawn(TRUE.error(IMAGES)))
    axes = Figure().add_subplot()
    label_figure.fitted(axes, found)
    line, beyond, marks = axes.lines
    assert [line.get_linestyle(), beyond.get_linestyle(), marks.get_linestyle()] == ["-", "--", "None"]
    images = np.array([800.0, 1600.0])
    assert marks.get_xydata() == pytest.approx(np.stack([images, 100 * found.expected(images)[0]], 1))
    assert beyond.get_xydata()[[0, -1]] == pytest.approx(
        np.array([[400, 100 * found.expected(np.array([400.0]))[0, 0]], [1600, 100 * found.expected(images)[0, 1]]])
    )


def test_a_mean_outside_its_interval_is_drawn_with_the_whole_interval_on_one_side() -> None:
    """A bootstrap's interval need not hold the mean of what was resampled."""
    images, values = np.array([10.0, 20.0]), np.array([0.5, 0.6])
    axes = Figure().add_subplot()
    label_figure.measured(axes, Curve(images, values, np.array([[0.52, 0.55], [0.55, 0.58]])), "probe")
    (bars,) = axes.containers[0].lines[2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [pytest.approx([50, 55]), pytest.approx([55, 60])]
