"""Figures hold every row of the table, and equal studies give equal files."""

from pathlib import Path

import pytest

from tests.evaluation.test_regimes import study
from tests.reporting import grid
from workflow.lib.reporting import figures
from workflow.lib.reporting.results import Results
from workflow.scripts.figures import FORMATS


def spaced() -> Results:
    """Of a class one image is one shot, and all are 33.3."""
    support = {"1": 10, "all": 333}
    found = grid.results()
    records = {key: {**record, "support": support.get(key[3], 0)} for key, record in found.records.items()}
    return Results(found.plan, records)


def test_every_row_is_a_line_with_its_means_and_zero_shot_runs_across() -> None:
    (axes,) = figures.accuracy_figure(spaced(), "digits", "nano").axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert {name: [round(float(y), 6) for y in values] for name, values in lines.items()} == {
        "probe (scale=none)": [32, 81],
        "probe (scale=standard)": [42, 90],
        "zero_shot": [50, 50],
        "adapter": [55, 71],
    }


def test_a_band_goes_from_one_standard_deviation_below_the_mean_to_one_above() -> None:
    methods = [{"label": "probe", "variants": ["-"], "learns": True}]
    values = {"1": [0.3, 0.4, 0.5], "5": [0.55, 0.65, 0.75]}
    cells = {("digits", "nano", "probe", shots): {"-": found} for shots, found in values.items()}
    found = grid.results(cells, methods=methods, shots=list(values), seeds=3)
    (axes,) = figures.accuracy_figure(found, "digits", "nano").axes
    (band,) = axes.collections
    corners = {(float(x), round(float(y), 6)) for x, y in band.get_paths()[0].vertices}
    assert corners == {(1.0, 30.0), (1.0, 50.0), (5.0, 55.0), (5.0, 75.0)}


def test_the_rows_of_a_method_have_its_colour_and_what_learns_nothing_is_black() -> None:
    labels = {"b": False, "a": True, "c": True, "d": False}
    methods = [{"label": label, "variants": ["x", "y"], "learns": learns} for label, learns in labels.items()]
    cells = {("digits", "nano", label, "1" if labels[label] else "0"): {"x": [0.1], "y": [0.2]} for label in labels}
    found = grid.results(cells, methods=methods, shots=["1"])
    (axes,) = figures.accuracy_figure(found, "digits", "nano").axes
    colours = {str(line.get_label()): line.get_color() for line in axes.lines}
    assert len(colours) == 8
    assert {name for name, colour in colours.items() if colour == "black"} == {"b (x)", "b (y)", "d (x)", "d (y)"}
    assert colours["a (x)"] == colours["a (y)"] != colours["c (x)"] == colours["c (y)"]


def test_each_number_of_shots_stands_at_its_images_per_class() -> None:
    (axes,) = figures.accuracy_figure(spaced(), "digits", "nano").axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "all (33.3)"]
    assert [float(tick) for tick in axes.get_xticks()] == [1.0, 33.3]
    assert all([float(x) for x in line.get_xdata()] == [1.0, 33.3] for line in axes.lines)


def test_forty_two_rows_differ_without_their_colours() -> None:
    looks = {(number % len(figures.LINES), number % len(figures.MARKERS)) for number in range(42)}
    assert len(looks) == 42
    methods = [{"label": f"m{i}", "variants": ["-"], "learns": True} for i in range(12)]
    cells = {("digits", "nano", f"m{i}", "1"): {"-": [0.1, 0.1]} for i in range(12)}
    (axes,) = figures.accuracy_figure(grid.results(cells, methods=methods), "digits", "nano").axes
    # Of a dashed line the public name is "--", whichever dashes it has.
    assert len({(str(line._dash_pattern), line.get_marker()) for line in axes.lines}) == 12


@pytest.mark.parametrize("rows", [4, 23, 43, 80])
def test_the_names_of_many_rows_stand_above_the_line_below(rows: int) -> None:
    methods = [{"label": f"m{i}", "variants": ["-"], "learns": True} for i in range(rows)]
    cells = {("digits", "nano", f"m{i}", "1"): {"-": [0.1, 0.1]} for i in range(rows)}
    figure = figures.accuracy_figure(grid.results(cells, methods=methods), "digits", "nano")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    names, below = legend.get_window_extent(), figure._supxlabel.get_window_extent()
    assert len(legend.get_texts()) == rows
    assert below.y1 <= names.y0
    assert names.y1 <= figure.bbox.y1


def test_the_peeking_figure_has_the_rows_with_a_curve() -> None:
    (axes,) = figures.peeking_figure(study()).axes
    assert {line.get_label(): [round(float(y), 6) for y in line.get_ydata()] for line in axes.lines} == {"probe": [13]}
    assert axes.get_ylim()[0] == 0  # how large a gap looks is how large it is


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_studies_give_equal_files(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        figures.write(figures.accuracy_figure(grid.results(), "digits", "nano"), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_a_row_without_numbers_is_left_out() -> None:
    cells = {place: found for place, found in grid.CELLS.items() if place[2] != "adapter"}
    (axes,) = figures.accuracy_figure(grid.results(cells), "digits", "nano").axes
    assert "adapter" not in [line.get_label() for line in axes.lines]
