"""Published numbers: read with one-line errors, matched to rows by method and settings, shown with the difference."""

from pathlib import Path

import pytest

from tests.reporting import grid
from workflow.lib.errors import UserError
from workflow.lib.reporting import references

ROOT = Path(__file__).parents[2]
HEADER = ",".join(references.COLUMNS)
LINE = "probes,probe,scale=none,digits,nano,1,35.50,best epoch,a paper"


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "published.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return path


def test_the_starting_study_is_there_with_every_row() -> None:
    published = references.read(ROOT / "workflow" / "references" / "fgvc_aircraft_vit_b_32_laion2b.csv")
    assert len(published) == 1 + 4 * 5 + 2 * 5 + 3 * 5 + 3 * 5
    assert {one.method for one in published} == {
        "zero_shot",
        "logistic_regression",
        "linear_probe",
        "attention_probe",
        "clip_adapter",
    }
    best = next(one for one in published if one.settings.get("batch_norm") == "true" and one.shots == "all")
    assert best.accuracy == 54.49


def test_the_published_adapters_are_there() -> None:
    published = references.read(ROOT / "workflow" / "references" / "published.csv")
    assert {"tip_adapter", "taskres", "gda", "proker", "lp_pp", "ape", "clap"} <= {one.method for one in published}


def test_timo_and_calip_are_there_at_every_number_of_shots_they_were_published_for() -> None:
    published = references.read(ROOT / "workflow" / "references" / "published.csv")
    timo = [(one.shots, one.accuracy) for one in published if one.method == "timo"]
    assert len(timo) == 2 * 5
    assert {("1", 66.43), ("16", 76.61), ("1", 23.51), ("16", 40.69)} <= set(timo)  # a mean of 11, and FGVC-Aircraft
    assert {(one.shots, one.accuracy) for one in published if one.method == "calip"} == {("0", 59.45), ("0", 17.76)}


@pytest.mark.parametrize(
    ("name", "rows", "one"),
    [
        ("published_towers", 30, ("clip_lora", "16", 82.89)),
        ("published_base_classes", 9, ("two_stage", "16", 85.55)),
        ("published_new_classes", 9, ("two_stage", "16", 75.48)),
    ],
)
def test_those_of_the_towers_can_stand_beside_a_study(name: str, rows: int, one: tuple[str, str, float]) -> None:
    published = references.read(ROOT / "workflow" / "references" / f"{name}.csv")
    assert len(published) == rows
    assert one in {(each.method, each.shots, each.accuracy) for each in published}
    assert len(references.table(grid.results(), "digits", "nano", published).rows) == len(
        {each.row for each in published}
    )


def test_ours_stand_beside_the_published_with_the_difference(tmp_path: Path) -> None:
    results = grid.results()
    for variant in results.records["digits", "nano", "probe", "1"]["variants"]:
        variant["params"] = {"scale": variant["variant"].removeprefix("scale="), "C": 1.0}
    zero = "zero-shot,zero_shot,,digits,nano,0,52.00,,a paper"
    table = references.table(results, "digits", "nano", references.read(written(tmp_path, LINE, zero)))
    shown = {label: cells for label, cells, _ in table.rows}
    assert shown["probes (scale=none)"] == ["32.00 ± 2.83 (35.50, -3.50)", None]
    assert shown["zero-shot"] == ["50.00 (52.00, -2.00)"] * 2
    assert table.caption[-1] == "Published: a paper. n/a: no row of this study has these settings."
    assert [remarks for label, _, remarks in table.rows if label.startswith("probes")] == [["best epoch"]]


def test_other_settings_are_n_a(tmp_path: Path) -> None:
    line = LINE.replace("scale=none", "scale=odd")
    table = references.table(grid.results(), "digits", "nano", references.read(written(tmp_path, line)))
    assert [cells for _, cells, _ in table.rows] == [[None, None]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.replace("35.50", "high"), ":2: not a published number: could not convert string to float: 'high'"),
        (LINE.replace("35.50", "135.5"), ":2: not a published number: accuracy_percent is 135.5, allowed: 0 to 100"),
        (LINE.replace("35.50", "nan"), ":2: not a published number: accuracy_percent is nan, allowed: 0 to 100"),
        (LINE.replace("scale=none", "scale"), ":2: not a published number: "),
    ],
)
def test_a_line_that_can_t_be_read_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = written(tmp_path, line)
    with pytest.raises(UserError) as error:
        references.read(path)
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)


def test_other_columns_and_a_missing_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("method,accuracy\nx,1\n")
    with pytest.raises(UserError, match=r"other\.csv:1: found the columns"):
        references.read(path)
    with pytest.raises(UserError, match="no published numbers can be read from it"):
        references.read(tmp_path / "absent.csv")
