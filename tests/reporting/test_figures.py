"""Figures hold every row of the table, and equal studies give equal files."""

from pathlib import Path

from tests.evaluation.test_regimes import study
from tests.reporting import grid
from workflow.lib.reporting import figures


def test_every_row_is_a_line_with_its_means_and_zero_shot_runs_across() -> None:
    (axes,) = figures.accuracy_figure(grid.results(), "digits", "nano").axes
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert {name: [round(float(y), 6) for y in values] for name, values in lines.items()} == {
        "probe (scale=none)": [32, 81],
        "probe (scale=standard)": [42, 90],
        "zero_shot": [50, 50],
        "adapter": [55, 71],
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "all"]


def test_the_peeking_figure_has_the_rows_with_a_curve() -> None:
    (axes,) = figures.peeking_figure(study()).axes
    assert {line.get_label(): [round(float(y), 6) for y in line.get_ydata()] for line in axes.lines} == {"probe": [13]}


def test_equal_studies_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        figures.write(figures.accuracy_figure(grid.results(), "digits", "nano"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_row_without_numbers_is_left_out() -> None:
    cells = {place: found for place, found in grid.CELLS.items() if place[2] != "adapter"}
    (axes,) = figures.accuracy_figure(grid.results(cells), "digits", "nano").axes
    assert "adapter" not in [line.get_label() for line in axes.lines]
