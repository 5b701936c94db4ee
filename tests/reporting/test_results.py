"""The records of a study gathered: which rows there are, and results.csv."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reporting import grid
from workflow.lib.errors import UserError
from workflow.lib.reporting import rendering, results, summaries, tables
from workflow.lib.reporting.results import Plan, Results


def test_rows_are_in_the_order_of_the_study_with_what_learns_nothing_on_top() -> None:
    assert grid.plan().rows() == [
        ("zero_shot", "-"),
        ("probe", "scale=none"),
        ("probe", "scale=standard"),
        ("adapter", "-"),
    ]


def test_one_cell_of_zero_shot_stands_for_every_number_of_shots() -> None:
    found = grid.results()
    assert [found.plan.cell("zero_shot", shots) for shots in ("1", "all")] == ["0", "0"]
    assert [found.plan.cell("probe", shots) for shots in ("1", "all")] == ["1", "all"]
    for shots in ("1", "all"):
        assert found.values("digits", "nano", ("zero_shot", "-"), shots) == [0.50]


def test_a_cell_s_files_lie_under_the_study_s_folder() -> None:
    plan, folder = grid.plan(), Path("results/trial")
    assert plan.path(folder, "digits", "nano", "probe", "all") == folder / "metrics/digits/nano/probe/all.json"
    predictions = plan.path(folder, "digits", "nano", "zero_shot", "5", "predictions")
    assert predictions == folder / "predictions/digits/nano/zero_shot/0.npz"


def test_accuracies_are_those_of_the_row_and_the_column() -> None:
    found = grid.results()
    assert found.values("planes", "nano", ("probe", "scale=standard"), "all") == [0.46, 0.48]
    assert found.values("planes", "nano", ("probe", "scale=odd"), "all") == []


# --- reading -----------------------------------------------------------------------------------------------------


def test_every_record_of_the_plan_is_read_and_none_besides(tmp_path: Path) -> None:
    grid.write(tmp_path, {**grid.CELLS, ("digits", "nano", "dropped", "1"): {"-": [0.1]}})
    found = results.gather(grid.plan(), tmp_path)
    assert (list(found.records), found.missing) == (list(grid.CELLS), [])


def test_what_is_missing_is_listed(tmp_path: Path) -> None:
    grid.write(tmp_path)
    gone = tmp_path / "metrics/planes/nano/adapter/1.json"
    gone.unlink()
    assert results.gather(grid.plan(), tmp_path).missing == [gone]


def test_what_is_to_be_computed_again_is_missing_although_its_old_record_is_there(tmp_path: Path) -> None:
    """Damaged, or of another number of seeds: nobody reads it."""
    grid.write(tmp_path)
    key = ("planes", "nano", "adapter", "all")
    old = tmp_path.joinpath("metrics", *key).with_suffix(".json")
    old.write_text("{")
    found = results.gather(grid.plan(), tmp_path, [key])
    assert found.missing == [old]
    assert set(found.records) == set(grid.CELLS) - {key}


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    grid.write(tmp_path)
    (tmp_path / "metrics/planes/nano/adapter/1.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics/planes/nano/adapter/1\.json: not a cell's metrics"):
        results.gather(grid.plan(), tmp_path)


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps(dataclasses.asdict(grid.plan())))
    assert Plan.read(tmp_path) == grid.plan()


def test_without_a_plan_the_study_has_to_be_run_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study\.json: no such file: run the study first"):
        Plan.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"study": "trial"}'])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(UserError, match=r"study\.json: "):
        Plan.read(tmp_path)


def test_the_regimes_of_a_record_are_those_of_the_study_in_whatever_order_they_are_written(tmp_path: Path) -> None:
    """JSON with sorted keys has `report` before `val_full`: docs/protocol.md's own example ended here."""
    place = ("digits", "nano", "adapter", "1")
    record = grid.record(
        {"-": [0.5, 0.6]}, place, protocol={"report": "test", "select": "last", "also": ["val_full", "report"]}
    )
    for seed in record["variants"][0]["seeds"]:
        seed["also"] = {regime: {"metrics": seed["metrics"], "point": {}} for regime in ("report", "val_full")}
    path = tmp_path.joinpath("metrics", *place).with_suffix(".json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record, sort_keys=True))
    methods = [{"label": "adapter", "variants": ["-"], "learns": True}]
    plan = grid.plan(datasets=["digits"], shots=["1"], methods=methods, also=["val_full", "report"])
    assert list(results.gather(plan, tmp_path).records) == [place]


OTHER: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another study": (lambda record: record.update(study="other"), "cell: found "),
    "another dataset": (lambda record: record.update(dataset="planes"), "cell: found "),
    "another backbone": (lambda record: record.update(backbone="tiny"), "cell: found "),
    "another method": (lambda record: record.update(method="probe"), "cell: found "),
    "other shots": (lambda record: record.update(shots="2"), "cell: found "),
    "another split": (lambda record: record["protocol"].update(report="val"), "protocol: found "),
    "another regime": (lambda record: record["protocol"].update(select="report"), "protocol: found "),
    "a regime less": (lambda record: record["protocol"].update(also=[]), "protocol: found "),
    "a seed less": (lambda record: record["variants"][0]["seeds"].pop(), "seeds: found "),
    "another seed": (lambda record: record["variants"][0]["seeds"][1].update(seed=7), "seeds: found "),
    "a seed without a regime": (lambda record: record["variants"][0]["seeds"][1]["also"].clear(), "regimes: found "),
}


@pytest.mark.parametrize(("change", "wrong"), OTHER.values(), ids=OTHER)
def test_a_record_of_something_else_is_not_this_study_s(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], wrong: str
) -> None:
    place = ("digits", "nano", "adapter", "1")
    record = grid.record(
        {"-": [0.5, 0.6]},
        place,
        protocol={"report": "test", "select": "last", "also": ["report"], "metric": "accuracy"},
    )
    for seed in record["variants"][0]["seeds"]:
        seed["also"] = {"report": {"metrics": seed["metrics"], "point": {}}}
    path = tmp_path.joinpath("metrics", *place).with_suffix(".json")
    path.parent.mkdir(parents=True)
    methods = [{"label": "adapter", "variants": ["-"], "learns": True}]
    plan = grid.plan(datasets=["digits"], shots=["1"], methods=methods, also=["report"])
    path.write_text(json.dumps(record))
    assert list(results.gather(plan, tmp_path).records) == [place]
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=rf"adapter/1\.json: not this study's: {wrong}"):
        results.gather(plan, tmp_path)


def test_a_record_without_the_study_s_metric_is_not_this_study_s(tmp_path: Path) -> None:
    place = ("digits", "nano", "adapter", "1")
    protocol = {"report": "test", "select": "last", "also": [], "metric": "auroc"}
    path = tmp_path.joinpath("metrics", *place).with_suffix(".json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(grid.record({"-": [0.5, 0.6]}, place, protocol=protocol)))
    methods = [{"label": "adapter", "variants": ["-"], "learns": True}]
    for metric, wrong in (("auroc", "metrics without: found 'auroc'"), ("macro_f1", "protocol: ")):
        plan = grid.plan(datasets=["digits"], shots=["1"], methods=methods, metric=metric)
        with pytest.raises(UserError, match=f"not this study's: {wrong}"):
            results.gather(plan, tmp_path)


# --- results.csv -------------------------------------------------------------------------------------------------


def lines(found: Results) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(results.tidy(found))))


def test_the_header_of_results_csv_is_fixed() -> None:
    assert (
        results.tidy(grid.results()).splitlines()[0] == "study,dataset,backbone,method,variant,shots,seed,metric,value"
    )


def test_results_csv_has_every_number_of_every_seed_once() -> None:
    found = lines(grid.results())
    fits = sum(len(seeds) for cell in grid.CELLS.values() for seeds in cell.values())
    assert len(found) == 6 * fits
    keys = [tuple(line[key] for key in results.HEADER[:-1]) for line in found]
    assert len(set(keys)) == len(keys)


def test_results_csv_gives_back_the_very_numbers() -> None:
    accuracy = 1 / 3
    cells = {**grid.CELLS, ("planes", "nano", "adapter", "1"): {"-": [accuracy, 0.3]}}
    (line,) = [
        line
        for line in lines(grid.results(cells))
        if (line["dataset"], line["method"], line["shots"], line["seed"], line["metric"])
        == ("planes", "adapter", "1", "0", "accuracy")
    ]
    assert (line["backbone"], line["variant"]) == ("nano", "-")
    assert float(line["value"]) == accuracy


def test_zero_shot_has_no_shots_in_results_csv() -> None:
    assert {line["shots"] for line in lines(grid.results()) if line["method"] == "zero_shot"} == {"0"}


def test_what_could_not_run_has_no_line() -> None:
    cells = {**grid.CELLS, ("digits", "nano", "zero_shot", "0"): {"-": "needs text"}}
    found = lines(grid.results(cells))
    assert not [line for line in found if (line["dataset"], line["method"]) == ("digits", "zero_shot")]


def test_a_variant_with_commas_is_one_field() -> None:
    cells = {("digits", "nano", "probe", "1"): {"inputs=image, scale=none": [0.5]}}
    assert lines(grid.results(cells))[0]["variant"] == "inputs=image, scale=none"


# --- remarks and ranks -------------------------------------------------------------------------------------------


def test_remarks_are_the_reasons_and_the_notes_each_once() -> None:
    found = grid.results()
    place = ("digits", "nano", "adapter", "1")
    found.records[place] = grid.record({"-": [0.5, 0.6]}, place, notes=["stopped early"])
    assert found.remarks("digits", "nano", ("adapter", "-")) == ["shots 1: stopped early"]
    assert found.remarks("digits", "nano", ("probe", "scale=none")) == []


def test_a_row_that_was_never_computed_says_so() -> None:
    found = grid.results()
    del found.records["digits", "nano", "adapter", "1"]
    assert found.remarks("digits", "nano", ("adapter", "-")) == ["shots 1: not computed"]


def test_what_is_said_of_the_features_is_said_of_those_of_the_dataset_and_backbone() -> None:
    pairs = [("b", "m"), ("a", "m"), ("c", "m"), ("b", "l"), ("b", "n")]
    records = {(*pair, "probe", "1"): grid.record({"-": [0.5]}) for pair in pairs}
    for number, ((dataset, backbone, *_), one) in enumerate(records.items(), 1):
        one["provenance"] |= {"prompts": {"first": [dataset + backbone]}, "extraction": {"zeros": number}}
    found = Results(grid.plan(), records)
    for number, (dataset, backbone) in enumerate(pairs, 1):
        assert found.prompts(dataset, backbone) == [f"Prompts: '{dataset}{backbone}', and likewise for every class."]
        assert found.missing_images(dataset, backbone) == [f"{number} rows of the features are zeros."]
    assert found.prompts("a", "n") == found.missing_images("a", "n") == []


def test_mean_ranks_by_hand() -> None:
    """digits, 1 shot: 50, 32, 42, 55; all: 50, 81, 90, 71; planes, 1 shot: 25, 10, 13, 25; all: 25, 41, 47, 47."""
    ranks = results.mean_ranks(grid.results())
    expected = [(2 + 4 + 1.5 + 4) / 4, (4 + 2 + 4 + 3) / 4, (3 + 1 + 3 + 1.5) / 4, (1 + 3 + 1.5 + 1.5) / 4]
    assert [ranks[row] for row in grid.plan().rows()] == expected


@pytest.mark.parametrize("reason", ["needs text", ""])
def test_a_row_that_lacks_a_cell_has_no_rank_and_the_others_are_ranked_without_it(reason: str) -> None:
    cells = {place: found for place, found in grid.CELLS.items() if place[2] != "zero_shot"}
    if reason:
        cells |= {(d, "nano", "zero_shot", "0"): {"-": reason} for d in ("digits", "planes")}
    ranks = results.mean_ranks(grid.results(cells))
    assert np.isnan(ranks["zero_shot", "-"])
    assert ranks["adapter", "-"] == (1 + 3 + 1 + 1.5) / 4


def test_the_sentence_on_the_trainings_counts_them() -> None:
    sentence = results.trainings(grid.results())
    fits = sum(len(seeds) for cell in grid.CELLS.values() for seeds in cell.values())
    assert sentence.startswith(f"{fits} classifiers in 10 cells: {0.25 * fits:.0f} s of fitting, 13 s of computing")


# --- plugins that nobody has checked -----------------------------------------------------------------------------


def unchecked(has_passed: bool = False, since: bool = False) -> results.Results:
    """The adapter is a plugin's in both datasets."""
    found = grid.results()
    for place, record in found.records.items():
        if place[2] == "adapter":
            check = {"key": "adapter-0123", "passed": has_passed, "command": "python -m methods check adapter.py"}
            record["provenance"]["check"] = check
    found.passed = lambda key: since and key == "adapter-0123"
    return found


REMARK = "not checked that it keeps the contract: python -m methods check adapter.py, then the study's command again"


def test_the_rows_of_a_plugin_that_has_not_passed_are_marked_and_no_others() -> None:
    made = tables.dataset_table(unchecked(), "digits", "nano")
    assert {name: remarks for name, _, remarks in made.rows if remarks} == {"adapter": [REMARK]}
    assert "| adapter [1]" in rendering.markdown(made)
    assert f"[1] {REMARK}" in rendering.markdown(made)


def test_the_summary_says_so_once() -> None:
    made = summaries.summary_table(unchecked())
    assert {name: remarks for name, _, remarks in made.rows if remarks} == {"adapter": [REMARK]}


@pytest.mark.parametrize(("has_passed", "since"), [(True, False), (False, True)])
def test_one_that_has_passed_before_or_since_is_not_marked(has_passed: bool, since: bool) -> None:
    made = tables.dataset_table(unchecked(has_passed, since), "digits", "nano")
    assert [remarks for _, _, remarks in made.rows if remarks] == []
