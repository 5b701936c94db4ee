"""Tables: the numbers, their order and marks, what is said beside them, and three formats that can be read."""

import csv
import io
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests import needs
from tests.reporting import grid
from workflow.lib.evaluation import records
from workflow.lib.evaluation.protocol import REGIMES
from workflow.lib.reporting import rendering, summaries, tables
from workflow.lib.reporting.tables import Cell, Number, Table

DIGITS = tables.dataset_table(grid.results(), "digits", "nano")
SUMMARY = summaries.summary_table(grid.results())
NOTE = "100 % of x_1 & {a} ~ $5 #1 ^2 \\ < > | ± × ≥ − λ"


def parsed(markdown: str) -> list[list[str]]:
    """The cells of a pipe table, heading first, without its rule."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [rows[0], *rows[2:]]


def numbers(*means: float | None) -> list[Number | None]:
    return [None if mean is None else Number(mean) for mean in means]


def column(*means: float | None, lower: bool = False) -> Table:
    """A table of one column."""
    rows = [(f"row {i}", [number], []) for i, number in enumerate(numbers(*means))]
    return Table("t", ["x"], rows, lower=["x"] if lower else [])


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fractions", "shown"),
    [
        ([0.60, 0.50], "55.00 ± 7.07"),  # (60 - 50) / √2
        ([0.10, 0.20, 0.40], "23.33 ± 15.28"),  # √((13.33² + 3.33² + 16.67²) / 2)
        ([0.5, 0.5], "50.00 ± 0.00"),
        ([0.12345], "12.35"),
        ([1.0], "100.00"),
    ],
)
def test_a_number_is_a_mean_in_percent_and_the_deviation_of_the_sample(fractions: Sequence[float], shown: str) -> None:
    number = tables.percent(fractions)
    assert str(number) == shown
    assert number.mean == pytest.approx(100 * np.mean(fractions))


def test_no_seeds_are_no_number() -> None:
    assert tables.percent([]) is None


# --- a dataset --------------------------------------------------------------------------------------------------


def test_rows_are_in_the_order_of_the_study_and_zero_shot_is_on_top() -> None:
    assert [row[0] for row in DIGITS.rows] == ["zero_shot", "probe (scale=none)", "probe (scale=standard)", "adapter"]


def test_columns_are_the_shots() -> None:
    plan_of = grid.results(shots=["1", "5", "all"])
    assert tables.dataset_table(plan_of, "digits", "nano").columns == ["1 shot", "5 shots", "all"]


def test_cells_are_the_mean_and_the_deviation_of_that_row_and_column() -> None:
    shown = [[str(cell) for cell in cells] for _, cells, _ in DIGITS.rows]
    assert shown == [
        ["50.00", "50.00"],  # the one number of zero-shot, in every column
        ["32.00 ± 2.83", "81.00 ± 1.41"],
        ["42.00 ± 2.83", "90.00 ± 0.00"],
        ["55.00 ± 7.07", "71.00 ± 1.41"],
    ]


def test_another_data_set_has_its_own_numbers() -> None:
    planes = tables.dataset_table(grid.results(), "planes", "nano")
    assert [str(cells[0]) for _, cells, _ in planes.rows] == ["25.00", "10.00 ± 0.00", "13.00 ± 1.41", "25.00 ± 7.07"]


def test_folds_are_stated_under_the_tables_of_their_dataset_and_of_the_whole_study() -> None:
    found = grid.results(folds={"digits": 5})
    digits, planes = ("\n".join(tables.dataset_table(found, name, "nano").caption) for name in ("digits", "planes"))
    assert "Top-1 accuracy in percent on all images, mean ± standard deviation over 2 seeds." in digits
    assert "report all images, select last" in digits
    assert "5-fold cross-validation: every image is answered by a classifier that has not seen it" in digits
    assert "cross-validat" not in planes
    assert "in percent on test, mean" in planes
    both = "\n".join(summaries.summary_table(found).caption)
    assert "in percent on test, or all images where cross-validated, averaged" in both
    assert "5-fold cross-validation of digits: every image" in both


@pytest.mark.parametrize("regime", list(REGIMES))
def test_the_protocol_is_stated_under_every_table_in_every_format(regime: str) -> None:
    found = grid.results(select=regime, report="val")
    for table in (tables.dataset_table(found, "digits", "nano"), summaries.summary_table(found)):
        assert f"Protocol: report val, select {regime}: {REGIMES[regime]}." in rendering.markdown(table)
        assert f"select {regime}".replace("_", "\\_") in rendering.latex(table)


@pytest.mark.parametrize(
    ("first", "line"),
    [
        (["a photo of a elk."], "Prompts: 'a photo of a elk.', and likewise for every class."),
        (["a elk.", "the elk.", "elk."], "Prompts: 'a elk.', 'the elk.' and 1 more, and likewise for every class."),
    ],
)
def test_the_prompts_are_stated_where_there_are_any(first: list[str], line: str) -> None:
    found = grid.results()
    assert "Prompts" not in rendering.markdown(tables.dataset_table(found, "digits", "nano"))
    for (dataset, *_), record in found.records.items():
        if dataset == "digits":
            record["provenance"]["prompts"] = {"templates": ["{}"], "first": first}
            records.check(record, "here")
    assert line in rendering.markdown(tables.dataset_table(found, "digits", "nano"))
    assert "Prompts" not in rendering.markdown(tables.dataset_table(found, "planes", "nano"))


def test_seeds_are_stated() -> None:
    assert "mean ± standard deviation over 2 seeds" in rendering.markdown(DIGITS)
    one = tables.dataset_table(grid.results(seeds=1), "digits", "nano")
    assert "from 1 seed." in rendering.markdown(one)


def test_looking_at_the_reported_split_is_said_to_flatter() -> None:
    table = tables.dataset_table(grid.results(select="report"), "digits", "nano")
    assert "the reported split itself: flatters" in rendering.markdown(table)


# --- the summary -------------------------------------------------------------------------------------------------


def test_the_summary_averages_over_data_sets_and_ranks() -> None:
    assert SUMMARY.columns == ["1 shot", "all", "mean", "mean rank"]
    shown = {name: [str(cell) for cell in cells] for name, cells, _ in SUMMARY.rows}
    assert shown == {
        "zero_shot": ["37.50", "37.50", "37.50", "2.88"],  # (50 + 25) / 2; ranks in test_results
        "probe (scale=none)": ["21.00", "61.00", "41.00", "3.25"],
        "probe (scale=standard)": ["27.50", "68.50", "48.00", "2.12"],
        "adapter": ["40.00", "59.00", "49.50", "1.75"],
    }


def test_a_row_that_is_missing_on_one_data_set_has_no_average() -> None:
    cells = {**grid.CELLS, ("digits", "nano", "zero_shot", "0"): {"-": "needs text, which these features don't have"}}
    table = summaries.summary_table(grid.results(cells))
    assert list(table.rows[0][1]) == [None, None, None, None]
    assert table.rows[0][2] == ["digits, nano: needs text, which these features don't have"]
    assert str(table.rows[3][1][0]) == "40.00"


# --- marks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "best", "second"),
    [
        ([10, 30, 20], [1], [2]),
        ([10, 30, 30], [1, 2], [0]),  # two best, and the next is the second
        ([10, 20, 20, 30], [3], [1, 2]),
        ([30.001, 30.004, 20], [0, 1], [2]),  # what prints alike is marked alike
        ([10, None, 20], [2], [0]),
        ([10], [], []),  # nothing to compare with
        ([10, None], [], []),
        ([None, None], [], []),
        ([10, 10], [0, 1], []),
    ],
)
def test_the_best_and_the_second_best_of_a_column_are_marked(
    means: list[float | None], best: list[int], second: list[int]
) -> None:
    marked = rendering.marks(column(*means))
    assert [i for (i, _), mark in marked.items() if mark == "best"] == best
    assert [i for (i, _), mark in marked.items() if mark == "second"] == second


def test_of_ranks_the_lowest_is_best() -> None:
    assert rendering.marks(column(3, 1, 2, lower=True)) == {(1, 0): "best", (2, 0): "second"}
    ranks = {i: mark for (i, j), mark in rendering.marks(SUMMARY).items() if j == 3}
    assert ranks == {3: "best", 2: "second"}


def test_columns_are_marked_each_for_itself() -> None:
    marked = {place: mark for place, mark in rendering.marks(DIGITS).items() if mark == "best"}
    assert marked == {(3, 0): "best", (2, 1): "best"}


def test_text_is_never_marked() -> None:
    assert rendering.marks(
        Table("t", ["x"], [("a", ["9/9/9"], []), ("b", [Number(1)], []), ("c", [Number(2)], [])])
    ) == {
        (1, 0): "second",
        (2, 0): "best",
    }


# --- Markdown ----------------------------------------------------------------------------------------------------


def test_markdown_is_a_pipe_table_with_its_marks() -> None:
    text = rendering.markdown(DIGITS)
    assert text.startswith("## digits, nano\n\n|")
    assert parsed(text) == [
        ["method", "1 shot", "all"],
        ["zero_shot", "<u>50.00</u>", "50.00"],
        ["probe (scale=none)", "32.00 ± 2.83", "<u>81.00 ± 1.41</u>"],
        ["probe (scale=standard)", "42.00 ± 2.83", "**90.00 ± 0.00**"],
        ["adapter", "**55.00 ± 7.07**", "71.00 ± 1.41"],
    ]


def test_what_could_not_run_shows_n_a_with_a_footnote_that_says_why() -> None:
    reason = "needs text, which these features don't have"
    cells = {**grid.CELLS, ("digits", "nano", "zero_shot", "0"): {"-": reason}}
    text = rendering.markdown(tables.dataset_table(grid.results(cells), "digits", "nano"))
    assert parsed(text)[1] == ["zero_shot [1]", "n/a", "n/a"]
    assert f"\n[1] {reason}" in text


def test_equal_remarks_share_a_footnote() -> None:
    table = Table("t", ["x"], [("a", numbers(1), ["one", "two"]), ("b", numbers(2), ["two"])])
    assert [row[0] for row in parsed(rendering.markdown(table))[1:]] == ["a [1] [2]", "b [2]"]
    assert re.findall(r"^\[\d\] \w+", rendering.markdown(table), re.MULTILINE) == ["[1] one", "[2] two"]


def test_a_bar_in_a_name_does_not_end_the_cell() -> None:
    table = Table("t", ["x"], [("probe (a=b|c)", numbers(1), []), ("b", numbers(2), [])])
    assert parsed(rendering.markdown(table))[1] == [r"probe (a=b\|c)", "<u>1.00</u>"]


def test_the_terminal_gets_the_same_numbers_with_stars() -> None:
    text = rendering.plain(DIGITS)
    assert re.search(r"adapter +\*55\.00 ± 7\.07 ", text)
    assert "* best, + second best" in text


# --- CSV ---------------------------------------------------------------------------------------------------------


def test_csv_has_means_and_deviations_in_columns_of_their_own() -> None:
    rows = list(csv.DictReader(io.StringIO(rendering.comma_separated(DIGITS))))
    assert list(rows[0]) == ["method", "1 shot", "1 shot sd", "all", "all sd"]
    assert list(rows[0].values()) == ["zero_shot", "50.00", "", "50.00", ""]
    assert list(rows[2].values()) == ["probe (scale=standard)", "42.00", "2.83", "90.00", "0.00"]


def test_csv_has_no_column_of_deviations_where_there_are_none() -> None:
    assert next(csv.reader(io.StringIO(rendering.comma_separated(SUMMARY)))) == ["method", *SUMMARY.columns]


def test_a_deviation_of_zero_is_one() -> None:
    table = Table("t", ["x"], [("a", [Number(1, 0.0)], []), ("b", [Number(2)], [])])
    assert list(csv.reader(io.StringIO(rendering.comma_separated(table)))) == [
        ["method", "x", "x sd"],
        ["a", "1.00", "0.00"],
        ["b", "2.00", ""],
    ]


def test_csv_of_n_a_has_as_many_fields_as_the_others() -> None:
    table = Table("t", ["x", "y"], [("a", [None, Number(1, 2)], []), ("b, c", [Number(1, 2), None], [])])
    rows = list(csv.reader(io.StringIO(rendering.comma_separated(table))))
    assert rows[1:] == [["a", "n/a", "", "1.00", "2.00"], ["b, c", "1.00", "2.00", "n/a", ""]]


# --- LaTeX -------------------------------------------------------------------------------------------------------


def hostile() -> Table:
    """A table whose texts hold everything that means something to LaTeX."""
    rows = [(f"probe ({NOTE})", [Number(1, 0.5), NOTE], [NOTE]), ("b_c", [Number(2, 0.1), None], ["100 %"])]
    return Table(f"title {NOTE}", ["1 shot", "mean_rank %"], rows, caption=[NOTE], lower=["mean_rank %"])


ALL = {"digits": DIGITS, "summary": SUMMARY, "hostile": hostile()}


@pytest.mark.parametrize("table", ALL.values(), ids=ALL)
def test_latex_is_balanced_and_has_a_cell_for_every_column(table: Table) -> None:
    text = rendering.latex(table)
    bare = re.sub(r"\\.", "", text.replace("\\\\", "\n"))  # without escapes and commands' first letters
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\(begin|end)\{(\w+)\}", text) == [
        ("begin", "table"),
        ("begin", "tabular"),
        ("end", "tabular"),
        ("end", "table"),
    ]
    body = [line for line in text.splitlines() if line.rstrip().endswith("\\\\")]
    assert len(body) == 1 + len(table.rows)
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == len(table.columns)
        assert not re.search(r"(?<!\\)[%#]", line)
    assert text.isascii()


def test_latex_marks_the_best_and_the_second_best() -> None:
    text = rendering.latex(DIGITS)
    assert r"\textbf{55.00 $\pm$ 7.07}" in text
    assert r"\underline{50.00}" in text
    assert r"zero\_shot" in text


@pytest.mark.parametrize("format", list(rendering.FORMATS))
def test_a_number_keeps_its_zeros_and_a_name_that_is_one_stays_as_it_is(format: str) -> None:
    rows: list[tuple[str, Sequence[Cell], Sequence[str]]] = [
        (name, [Number(mean, None)], []) for name, mean in (("0.50", 40.0), ("1e3", 50.0), ("2.0", 60.0))
    ]
    text = rendering.FORMATS[format](Table("t", ["1 shot"], rows))
    assert all(shown in text for shown in ("0.50", "1e3", "2.0", "40.00", "50.00", "60.00"))


@pytest.mark.parametrize("table", ALL.values(), ids=ALL)
def test_latex_compiles(table: Table, tmp_path: Path) -> None:
    needs.programs("latex", "pdflatex")
    document = f"\\documentclass{{article}}\n\\begin{{document}}\n{rendering.latex(table)}\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(document)
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)


@pytest.mark.parametrize("format", list(rendering.FORMATS))
def test_the_same_results_give_the_same_bytes(format: str) -> None:
    again = tables.dataset_table(grid.results(), "digits", "nano")
    assert rendering.FORMATS[format](again) == rendering.FORMATS[format](DIGITS)


def test_what_was_tested_and_can_t_be_told_from_the_best_is_marked() -> None:
    place = ("digits", "nano", "1")
    table = tables.dataset_table(grid.results(), "digits", "nano", {"accuracy": {(place, ("zero_shot", "-"))}})
    shown = {label: [str(cell) for cell in cells] for label, cells, _ in table.rows}
    assert shown["zero_shot"] == ["50.00 †", "50.00"]
    assert table.caption[-1].startswith("† not distinguishable from the best of its column")
    assert "$\\dagger$" in rendering.latex(table)
    untested = tables.dataset_table(grid.results(), "digits", "nano")
    assert "†" not in rendering.markdown(untested)


def test_images_that_are_left_out_stand_under_the_table_of_their_data_set() -> None:
    found = grid.results()
    for place, record in found.records.items():
        if place[0] == "digits":
            record["provenance"]["extraction"] = {"activation": "GELU", "left_out": 3, "zeros": 2}
    digits, planes = (tables.dataset_table(found, name, "nano") for name in ("digits", "planes"))
    assert digits.caption[-2:] == [
        "3 images can't be read and are left out; the log of the features lists them.",
        "2 rows of the features are zeros.",
    ]
    assert planes.caption == DIGITS.caption
