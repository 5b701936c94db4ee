"""How far rows can be trusted, as a table and as a figure: from cells that are really computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.test_trust import SUPPORT, VAL
from tests.reporting.computed import compute
from tests.reporting.grid import plan
from tests.samples import make_features
from workflow.lib.errors import UserError
from workflow.lib.reporting import calibration, figures, reliability, rendering
from workflow.lib.reporting.results import Results, gather

METHODS = [
    {"label": "means", "variants": ["-"], "learns": True},
    {"label": "zero_shot", "variants": ["-"], "learns": False},
]


def study(folder: Path, calibrate: dict[str, Any]) -> Results:
    """Class means and zero-shot at 1 and 5 shots, computed, written and gathered."""
    made = plan(datasets=["shapes"], backbones=["tiny"], shots=["1", "5"], methods=METHODS, calibrates=True)
    compute(folder, made, {"shapes": make_features(noise=1.5)}, calibrate)
    return gather(made, folder)


def test_the_table_has_every_row_before_and_after(tmp_path: Path) -> None:
    results = study(tmp_path, VAL | {"level": 0.8})
    table = calibration.table(results, "shapes", "tiny")
    assert [(label, cells[0]) for label, cells, _ in table.rows] == [
        ("zero_shot", "0 shots"),
        ("means", "1 shot"),
        ("means", "5 shots"),
    ]
    cells_of = dict(zip(table.columns, table.rows[2][1], strict=True))
    seeds = results.records["shapes", "tiny", "means", "5"]["variants"][0]["seeds"]
    coverage = np.array([seed["metrics"]["coverage"] for seed in seeds])
    assert cells_of["coverage"] == f"{100 * coverage.mean():.2f} ± {100 * coverage.std(ddof=1):.2f}"
    low, high = seeds[0]["calibration"]["band"]
    assert cells_of["band"] == f"{100 * low:.2f} to {100 * high:.2f}"
    before, after = (float(str(cells_of[name]).split()[0]) for name in ("NLL", "NLL calibrated"))
    assert after < before
    said = " ".join(table.caption)
    assert "is fitted to val, never to test" in said
    assert "at a level of 80 %" in said
    assert "at most 5 % wrong" in said


def test_of_bands_that_differ_from_seed_to_seed_the_widest_ends_are_shown(tmp_path: Path) -> None:
    """As of supports of unequal size."""
    results = study(tmp_path, VAL)
    seeds = results.records["shapes", "tiny", "means", "5"]["variants"][0]["seeds"]
    for seed, band in zip(seeds, ([0.7, 0.9], [0.6, 0.85]), strict=True):
        seed["calibration"]["band"] = band
    table = calibration.table(results, "shapes", "tiny")
    assert dict(zip(table.columns, table.rows[2][1], strict=True))["band"] == "60.00 to 90.00"


def test_what_is_not_calibrated_says_why(tmp_path: Path) -> None:
    table = calibration.table(study(tmp_path, SUPPORT), "shapes", "tiny")
    notes = {(label, cells[0]): (cells[2], remarks) for label, cells, remarks in table.rows}
    assert notes["means", "1 shot"] == (
        None,
        ["not calibrated: 4 classes have one image, which no fold can leave out"],
    )
    assert notes["zero_shot", "0 shots"][0] is None
    assert notes["means", "5 shots"][0] is not None
    assert "the support out of its folds" in " ".join(table.caption)
    for render in rendering.FORMATS.values():
        assert "means" in render(table)


def test_a_table_of_nothing_says_that(tmp_path: Path) -> None:
    table = calibration.table(study(tmp_path, {}), "shapes", "tiny")
    assert table.rows == []
    assert "Nothing was calibrated" in table.caption[0]


def test_the_figure_draws_the_rows_that_were_calibrated(tmp_path: Path) -> None:
    results = study(tmp_path / "results", VAL)
    made = reliability.figure(results, tmp_path / "results", "shapes", "tiny")
    left, right = made.axes
    assert len(left.lines) == 1 + 2 * 2  # the diagonal, and two rows before and after
    assert {str(line.get_label()).split(",")[0] for line in right.lines} == {"means", "zero_shot"}
    for name in ("a.svg", "b.svg"):
        figures.write(reliability.figure(results, tmp_path / "results", "shapes", "tiny"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_dotted_is_before_and_drawn_out_after_and_errors_are_in_the_order_of_confidence(tmp_path: Path) -> None:
    results = study(tmp_path, VAL)
    left, right = reliability.figure(results, tmp_path, "shapes", "tiny").axes
    assert (*left.get_xlim(), *left.get_ylim(), right.get_ylim()[0]) == (0, 1, 0, 1, 0)
    means = {row: np.mean(results.values("shapes", "tiny", (row, "-"), "5")) for row in ("means", "zero_shot")}
    for i, row in enumerate(sorted(means, key=lambda row: -means[row])):
        sure = reliability.read(results.plan.path(tmp_path, "shapes", "tiny", row, "5", "predictions"), "-")
        assert sure is not None
        before, after = left.lines[1 + 2 * i], left.lines[2 + 2 * i]
        assert (before.get_linestyle(), after.get_linestyle()) == (":", "-")
        for line, confidence, hit in ((before, sure.before, sure.before_right), (after, sure.after, sure.after_right)):
            bins = np.minimum((confidence * 15).astype(int), 14)
            full = np.unique(bins)
            assert line.get_xdata() == pytest.approx([confidence[bins == one].mean() for one in full])
            assert line.get_ydata() == pytest.approx([hit[bins == one].mean() for one in full])
        assert right.lines[i].get_label().startswith(f"{row}, AURC ")
        assert right.lines[i].get_ydata()[-1] == pytest.approx(100 * (1 - means[row]))


@pytest.mark.parametrize("calibrate", [{}, SUPPORT])
def test_the_figure_leaves_out_what_was_not(tmp_path: Path, calibrate: dict[str, Any]) -> None:
    made = reliability.figure(study(tmp_path, calibrate), tmp_path, "shapes", "tiny")
    assert len(made.axes[1].lines) == (1 if calibrate else 0)


def test_what_is_drawn_is_what_was_saved(tmp_path: Path) -> None:
    results = study(tmp_path, VAL)
    path = results.plan.path(tmp_path, "shapes", "tiny", "means", "5", "predictions")
    sure = reliability.read(path, "-")
    assert sure is not None
    seeds = results.records["shapes", "tiny", "means", "5"]["variants"][0]["seeds"]
    assert sure.before_right.mean() == pytest.approx(np.mean([seed["metrics"]["accuracy"] for seed in seeds]))
    assert len(sure.after) == 2 * len(make_features().splits["test"].y)
    assert reliability.read(path, "other") is None


def test_damaged_predictions_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "1.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"1\.npz: no predictions can be read"):
        reliability.read(tmp_path / "1.npz", "-")
