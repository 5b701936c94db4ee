"""Metrics JSON: what is read is what was written, or is refused in one line that names the file."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import TRAPS, damaged, json_text, mutated, outcome
from tests.reporting import grid
from workflow.lib.errors import UserError
from workflow.lib.evaluation import records
from workflow.lib.reporting import rendering, results, summaries, tables

PLACE = ("digits", "nano", "probe", "1")
RIGHT = grid.record(grid.CELLS[PLACE], PLACE)


def metrics_of(record: Any) -> list[float]:
    """Every number that a table or results.csv may show."""
    return [value for v in record["variants"] for seed in v["seeds"] for value in seed["metrics"].values()]


def check(path: Path, content: bytes) -> Any:
    """Read a record: whatever is accepted has finite numbers of the right kind."""
    path.write_bytes(content)
    found = outcome(lambda: records.read(path), path)
    if found is not None:
        assert all(math.isfinite(value) for value in metrics_of(found))
        assert all(0 <= s["metrics"]["accuracy"] <= 1 for v in found["variants"] for s in v["seeds"])
        assert found == json.loads(content.decode("utf-8-sig"))
    return found


def test_the_right_one_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert check(tmp_path / "1.json", json_text(RIGHT)) == RIGHT


@given(value=mutated(RIGHT))
def test_a_record_of_another_shape(tmp_path: Path, value: Any) -> None:
    check(tmp_path / "1.json", json_text(value))


@given(content=damaged(json.dumps(RIGHT, indent=2).encode()))
def test_damaged_bytes(tmp_path: Path, content: bytes) -> None:
    check(tmp_path / "1.json", content)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_record_at_all(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "1.json", content) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "true", '"0.5"', "1" * 5000])
def test_a_number_that_is_none(tmp_path: Path, number: str) -> None:
    text = json.dumps(RIGHT).replace('"nll": 1.5', f'"nll": {number}')
    assert check(tmp_path / "1.json", text.encode()) is None


def test_a_key_that_stands_twice_is_refused_since_one_of_them_would_win(tmp_path: Path) -> None:
    text = json.dumps(RIGHT).replace('"accuracy": 0.3', '"accuracy": 0.9, "accuracy": 0.3')
    path = tmp_path / "1.json"
    assert check(path, text.encode()) is None
    with pytest.raises(UserError, match=r"1\.json: not JSON \(the key 'accuracy' stands twice in one object\)"):
        records.read(path)


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    assert outcome(lambda: records.read(tmp_path), tmp_path) is None


# --- a whole study's records -------------------------------------------------------------------------------------


def tables_of(folder: Path) -> dict[str, str]:
    """Every table of the study in every format, and results.csv."""
    found = results.gather(grid.plan(peeking_gap=True), folder)
    made = {f"{d}.nano": tables.dataset_table(found, d, "nano") for d in found.plan.datasets}
    made |= {"summary": summaries.summary_table(found), "peeking": tables.peeking_table(found)}
    texts = {f"{n}.{s}": render(table) for n, table in made.items() for s, render in rendering.FORMATS.items()}
    return texts | {"results.csv": results.tidy(found)}


@given(value=mutated(RIGHT, most=1), place=st.sampled_from(sorted(grid.CELLS)))
def test_tables_show_the_numbers_of_the_records_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, value: Any, place: tuple[str, str, str, str]
) -> None:
    """One record of a study is replaced: by a changed one, and often by one of another cell."""
    folder = tmp_path_factory.mktemp("study", numbered=True)
    grid.write(folder)
    path = folder.joinpath("metrics", *place).with_suffix(".json")
    path.write_bytes(json_text(value))
    made = outcome(lambda: tables_of(folder), path)
    if made is not None and place == PLACE:
        seeds = {v["variant"]: [s["metrics"]["accuracy"] for s in v["seeds"]] for v in value["variants"]}
        line = f"trial,digits,nano,probe,scale=none,1,0,accuracy,{seeds.get('scale=none', [None])[0]!r}\n"
        assert (line in made["results.csv"]) == bool(seeds.get("scale=none"))
    assert made is None or place == PLACE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "planes"}, "cell: "),
        ({"shots": "all"}, "cell: "),
        ({"study": "another"}, "cell: "),
        ({"protocol": {"report": "test", "select": "report"}}, "protocol: "),
        ({"protocol": {"report": "test", "select": "last", "also": ["report"]}}, "protocol: "),
    ],
)
def test_a_record_of_something_else_is_not_shown_as_this_cell_s(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    grid.write(tmp_path)
    path = tmp_path.joinpath("metrics", *PLACE).with_suffix(".json")
    path.write_bytes(json_text(RIGHT | changes))
    with pytest.raises(UserError) as error:
        results.gather(grid.plan(), tmp_path)
    assert str(error.value).startswith(f"{path}: not this study's: {message}found ")


def test_a_seed_less_is_not_averaged_over_the_others(tmp_path: Path) -> None:
    grid.write(tmp_path)
    path = tmp_path.joinpath("metrics", *PLACE).with_suffix(".json")
    one = grid.record({name: found[:1] for name, found in grid.CELLS[PLACE].items()}, PLACE)
    path.write_bytes(json_text(one))
    with pytest.raises(UserError, match="not this study's: seeds: found "):
        results.gather(grid.plan(), tmp_path)


# --- the plan beside them ----------------------------------------------------------------------------------------


@given(value=mutated(asdict(grid.plan())))
def test_a_plan_of_another_shape(tmp_path: Path, value: Any) -> None:
    """What is read can be compared by: every row of it, in every place."""
    path = tmp_path / "study.json"
    path.write_bytes(json_text(value))
    plan = outcome(lambda: results.Plan.read(tmp_path), path)
    if plan is not None:
        for label, variant in plan.rows():
            assert (type(label), type(variant)) == (str, str)
            assert all(plan.path(tmp_path, "a", "b", label, shots).is_relative_to(tmp_path) for shots in plan.shots)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_plan_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.json"
    path.write_bytes(content)
    assert outcome(lambda: results.Plan.read(tmp_path), path) is None
