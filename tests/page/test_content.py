"""What is in the page: the numbers of the tables, texts that stay texts, pictures that can be kept out."""

import base64
import html
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.page import studies
from workflow.lib import files
from workflow.lib.data.index import Index, write_index
from workflow.lib.errors import UserError
from workflow.lib.evaluation import scoring
from workflow.lib.features import store, took
from workflow.lib.features.store import Features, Split
from workflow.lib.page import answers, cells, document, duels, pictures, quantities, trust
from workflow.lib.page.content import content
from workflow.lib.page.layout import Layout
from workflow.lib.reporting import comparison, recommendation_files, summaries, tables
from workflow.lib.reporting.saved import Saved
from workflow.scripts import report

NASTY = [*studies.NASTY, "</SCRIPT>", "<!--<script>", "&amp;", "\udc80"]


@pytest.fixture(scope="module")
def made(trial: Path) -> dict[str, Any]:
    return content([report.source(trial, studies.plan())])


def row_of(data: dict[str, Any], name: str) -> int:
    return next(i for i, row in enumerate(data["rows"]) if row["name"] == name)


def entry(data: dict[str, Any], place: int, name: str, shots: str) -> dict[str, Any]:
    row, at = row_of(data, name), data["shots"].index(shots)
    return next(one for one in data["entries"] if (one["p"], one["r"], one["s"]) == (place, row, at))


def test_means_and_deviations_are_those_of_the_tables(made: dict[str, Any], trial: Path) -> None:
    source = report.source(trial, studies.plan())
    table = tables.dataset_table(source.results, "digits", "nano")
    metric = [one["name"] for one in made["metrics"]].index("accuracy")
    checked = 0
    for name, row, _ in table.rows:
        for shots, cell in zip(studies.SHOTS, row, strict=True):
            if isinstance(cell, tables.Number) and cell.sd is not None:
                mean, sd = entry(made, 0, name, shots)["stats"]["last"][metric]
                assert (f"{mean:.2f}", f"{sd:.2f}") == (f"{cell.mean:.2f}", f"{cell.sd:.2f}")
                checked += 1
    assert checked == 7 * len(studies.SHOTS)


def test_intervals_and_differences_are_those_of_the_comparison(made: dict[str, Any], trial: Path) -> None:
    plan = studies.plan()
    source = report.source(trial, plan)
    ring = comparison.rings(plan, source.predictions, "accuracy")["digits", "nano", "4"]
    found = next(one for one in made["rings"] if (one["p"], one["s"]) == (0, 1) and len(one["rows"]) == len(ring.rows))
    assert found["intervals"] == [[round(100 * end, 2) for end in interval] for interval in ring.intervals]
    first = ring.differences[0, 1]
    assert found["pairs"][:3] == [round(100 * x, 2) for x in (first.mean, first.low, first.high)]
    assert len(found["pairs"]) == 4 * len(ring.rows) * (len(ring.rows) - 1) // 2


@pytest.mark.parametrize("text", NASTY)
def test_a_text_in_the_data_ends_no_element_and_comes_back_as_it_was(text: str) -> None:
    page = document.document({"name": text}, text.encode(errors="replace").decode())
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data) == {"name": text}
    assert "\u2028" not in data
    assert html.unescape(re.findall(r"<title>(.*?)</title>", page)[0]) == text.encode(errors="replace").decode()
    page.encode()


def test_the_policy_of_the_page_lets_nothing_in() -> None:
    page = document.document({}, "t")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "unsafe" not in policy.partition("script-src")[2]


def test_what_most_seeds_say() -> None:
    guesses = np.array([[0, 1, 2], [1, 1, 2], [1, 0, 0]])
    assert answers.most_said(guesses).tolist() == [1, 1, 2]
    assert answers.most_said(guesses[:2]).tolist() == [0, 1, 2]


def test_ranks_are_those_of_the_summary_row_by_row(made: dict[str, Any], trial: Path) -> None:
    summary = summaries.summary_table(report.source(trial, studies.plan()).results)
    at = summary.columns.index("mean rank")
    ranks = [str(cells[at]) if cells[at] else None for _, cells, _ in summary.rows]
    assert [None if rank is None else f"{rank:.2f}" for rank in made["ranks"]] == ranks
    assert ranks != ranks[::-1]


def test_which_way_is_better_and_what_is_a_share() -> None:
    lower = ("nll", "ece", "brier", "nll_calibrated", "ece_calibrated", "brier_calibrated", "answered_error", "aurc")
    neither = ("temperature", "coverage", "coverage_mondrian")
    for name in (*scoring.METRICS, "top5", "answered", *lower, *neither):
        told = quantities.described(name)
        assert told["better"] == ("low" if name in lower else "" if name in neither else "high")
        assert told["percent"] is not name.startswith(("nll", "brier", "temperature"))
        assert told["decides"] is (name in scoring.METRICS)


def test_images_that_divide_the_rows_are_worth_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, said = np.array([0, 1, 2, 0]), np.array([[0, 1, 0, 2], [0, 0, 0, 1]])
    cell = Saved(labels, ["a", "b", "c"], {}, {"-": said}, {})
    monkeypatch.setattr(pictures, "PAIRS", 0)
    monkeypatch.setattr(pictures, "DIVIDING", 1)
    assert pictures.chosen([cell]) == [1]


def test_both_classes_of_a_confused_pair_have_examples(pictured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "PAIRS", 1)
    assert len(images(pictured)["examples"]) == 2


def test_class_numbers_are_packed_in_one_byte_or_in_two() -> None:
    for count, kind in ((256, "u1"), (257, "<u2"), (1000, "<u2")):
        numbers = np.array([0, 3, count - 1])
        packed = base64.b64decode(answers.packed(numbers, count))
        assert np.frombuffer(packed, kind).tolist() == numbers.tolist()


def test_the_pairs_that_are_most_often_confused() -> None:
    labels = np.array([0, 0, 1, 2])
    guesses = np.array([[1, 1, 1, 0], [1, 0, 2, 0]])
    assert answers.confused(guesses, labels, 3) == [[0, 1, 3], [2, 0, 2], [1, 2, 1]]


def test_of_too_many_answers_those_of_each_row_s_largest_number_of_shots_are_kept_or_none(
    trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout([report.source(trial, studies.plan())])
    every = answers.of(layout)["answers"]
    most: dict[tuple[int, int], int] = {}
    for one in sorted(every, key=lambda one: one["s"]):
        most[one["p"], one["r"]] = one["s"]
    last = [one for one in every if one["s"] == most[one["p"], one["r"]]]
    assert {one["s"] for one in last} == {-1, 3}
    for limit, kept in ((len(every), every), (len(every) - 1, last), (len(last), last), (len(last) - 1, [])):
        monkeypatch.setattr(answers, "_IMAGES", 120 * limit)
        assert answers.of(layout)["answers"] == kept


def test_missing_cells_and_rows_that_could_not_run_have_their_reasons(tmp_path: Path) -> None:
    plan = studies.plan()
    studies.write(tmp_path / "trial", plan, without=["probe"])
    data = content([report.source(tmp_path / "trial", plan)])
    (study,) = data["studies"]
    assert study["cells"] == [18, 26]
    assert len(study["missing"]) == 8
    assert {why for _, why in study["missing"]} == {"error: <b>out of memory</b>"}
    assert {one["why"] for one in data["entries"] if "why" in one} == {"needs <text>, and the features have none"}


def test_a_study_without_a_single_cell_has_a_page_too(tmp_path: Path) -> None:
    plan = studies.plan()
    data = content([report.source(tmp_path, plan)])
    assert data["studies"][0]["cells"] == [0, 26]
    assert data["entries"] == []
    document.document(data, "empty")


def test_two_studies_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, shots in (("one", ["1", "16"]), ("two", ["4", "all"])):
        studies.write(tmp_path / name, studies.plan(study=name, shots=shots))
    out = tmp_path / "report.html"
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(out)])
    report.main()
    (text,) = re.findall(r'id="data">(.*?)</script>', out.read_text(), re.DOTALL)
    data = json.loads(text)
    assert [study["name"] for study in data["studies"]] == ["one", "two"]
    assert data["shots"] == ["1", "4", "16", "all"]
    assert {"adapter · one", "adapter · two"} <= {row["name"] for row in data["rows"]}
    assert len(data["places"]) == 2


def test_two_studies_of_one_name_are_an_error(trial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["report", str(trial), str(trial), "--out", str(tmp_path / "report.html")])
    with pytest.raises(UserError, match="two studies are called trial"):
        report.main()


def test_the_sentences_of_the_recommendation_are_those_that_were_decided(tmp_path: Path) -> None:
    """Of a dataset with a missing cell they are those of another time."""
    plan = studies.plan()
    studies.write(tmp_path, plan)
    told = {"dataset": "digits", "backbone": "nano", "sentences": ["Use a_b *c* <d>.", "Expect much."], "table": []}
    files.write_json(recommendation_files.path(tmp_path, "digits", "nano"), told | {"lines": []})
    (study,) = content([report.source(tmp_path, plan)])["studies"]
    assert study["recommended"] == [{"dataset": "digits", "backbone": "nano", "lines": told["sentences"]}]
    plan.path(tmp_path, "digits", "nano", "probe", "4").unlink()
    assert content([report.source(tmp_path, plan)])["studies"][0]["recommended"] == []


def test_bytes_of_the_classifier_and_the_time_of_the_extraction_are_there_where_they_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = studies.plan()
    studies.write(tmp_path / "trial", plan)
    features = next(iter(report.source(tmp_path / "trial", plan).results.records.values()))["provenance"]["features"]
    took.write(features, 12.345, 3300, "cpu")
    data = content([report.source(tmp_path / "trial", plan)])
    assert entry(data, 0, "probe (scale=none)", "4")["bytes"] == 2048 * len("scale=none")
    assert data["places"][0]["extraction"] == {"seconds": 12.35, "images": 3300, "device": "cpu"}
    assert took.read(tmp_path / "elsewhere.safetensors") == {}


# --- pictures -----------------------------------------------------------------------------------------------------


@pytest.fixture
def pictured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose images are there, in a folder as Snakemake would have it."""
    monkeypatch.chdir(tmp_path)
    plan = studies.plan(datasets=["digits"])
    studies.write(tmp_path / "results", plan, images=12)
    labels = np.arange(12) % len(studies.NASTY)
    files = {split: [f"{split}/{i}.png" for i in range(12)] for split in ("train", "test")}
    for name in (name for split in files.values() for name in split):
        (tmp_path / "data/digits" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100), (250, 10, 10)).save(tmp_path / "data/digits" / name)
    index = Index(
        tuple(f"class {k}" for k in range(6)),
        tmp_path / "data/digits",
        {split: [(name, int(k)) for name, k in zip(names, labels, strict=True)] for split, names in files.items()},
    )
    write_index(tmp_path / "data/digits/index.json", index)
    rng = np.random.default_rng(0)
    splits = {
        "train": Split(rng.normal(size=(12, 4)).astype(np.float32), labels),
        "test": Split(rng.normal(size=(12, 4)).astype(np.float32), labels),
    }
    made = Features(splits, index.classnames, None, 100.0, {"index": index.fingerprint()}, files=files)
    store.write(tmp_path / "features/nano/digits.safetensors", made)
    return tmp_path


def images(folder: Path, **changes: Any) -> dict[str, Any]:
    plan = replace(studies.plan(datasets=["digits"]), **changes)
    (found,) = content([report.source(folder / "results", plan)], Path("data"))["images"]
    return found


def test_images_have_names_and_small_pictures(pictured: Path) -> None:
    found = images(pictured)
    assert found["files"][3] == "test/3.png"
    assert len(found["pictures"]) == 12
    assert all(one.startswith("data:image/jpeg;base64,") and len(one) < 2500 for one in found["pictures"].values())
    assert all(len(own) == 2 for own in found["examples"].values())


def test_no_picture_of_a_study_that_wants_none(pictured: Path) -> None:
    found = images(pictured, thumbnails=False)
    assert "pictures" not in found
    assert "examples" not in found


def test_no_picture_by_a_list_of_other_images(pictured: Path) -> None:
    path = pictured / "data/digits/index.json"
    path.write_text(
        re.sub(r'\s*"fingerprint": "[0-9a-f]+",', "", path.read_text()).replace("test/3.png", "test/03.png")
    )
    assert "pictures" not in images(pictured)


def test_a_picture_that_cannot_be_read_is_left_out(pictured: Path) -> None:
    (pictured / "data/digits/test/3.png").write_bytes(b"no picture")
    assert sorted(map(int, images(pictured)["pictures"])) == [0, 1, 2, *range(4, 12)]


# --- trust --------------------------------------------------------------------------------------------------------


def test_the_bins_of_the_reliability_diagram_give_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(500)
    right = rng.random(500) < sure**2
    found = trust.bins(sure, right)
    assert sum(count for count, _, _ in found) == 500
    error = sum(count * abs(mean - share) for count, mean, share in found) / 500 / 100
    assert error == pytest.approx(scoring.expected_calibration_error(sure, right), abs=1e-3)


def test_risks_hold_back_the_least_sure_first() -> None:
    sure = np.array([0.9, 0.5, 0.6, 0.7])
    right = np.array([True, False, True, False])
    assert trust.risks(sure, right) == [[25.0, 0.0], [50.0, 50.0], [75.0, 33.33], [100.0, 50.0]]


def test_prediction_sets_class_by_class_of_the_seeds_that_have_them() -> None:
    labels = np.array([0, 0, 2])
    covered = np.array([[1, 0, 1], [1, 1, 1], [-1, -1, -1]])
    size = np.array([[1, 2, 4], [1, 1, 2], [-1, -1, -1]])
    assert trust.sets(covered, size, labels, 3) == [[75.0, 1.25], None, [100.0, 3.0]]


def test_the_sets_of_a_row_are_on_the_page_with_the_share_that_they_aim_at(made: dict[str, Any]) -> None:
    found = next(one for one in made["trust"] if (one["p"], one["r"], one["s"]) == (0, 1, 0))
    assert found["level"] == 90
    assert [len(one) for one in found["sets"]] == [2] * len(studies.NASTY)
    assert found["sets"][1] == [100.0, 2.0]


# --- limits -------------------------------------------------------------------------------------------------------


def test_the_page_of_results_names_every_limit() -> None:
    """As the code has them, thousands apart."""
    text = (Path(__file__).parents[2] / "docs/results.md").read_text().partition("## The page")[2].partition("\n## ")[0]
    scripts = "".join(path.read_text() for path in (document.ASSETS / "js").glob("*.js"))
    of_scripts = [
        int(n) for n in re.findall(r"^const (?:LINES|BANDS|PAGE|SHOWN_IMAGES|LISTED) = (\d+);", scripts, re.MULTILINE)
    ]
    assert len(of_scripts) == 5
    limits = [
        *of_scripts,
        answers.CONFUSED,
        answers._IMAGES,
        answers._RECALLS,
        cells._LOGS,
        cells._CURVES,
        duels._PAIRS,
    ]
    limits += [cells._LOG_LINES, cells._LOG_CHARACTERS, trust._ROWS, trust._CLASSES, pictures.SIDE, pictures._NAMES]
    limits += [pictures.WRONG, pictures.DIVIDING, pictures.EXAMPLES]
    written = {f"{n:,}".replace(",", " ") if n >= 10_000 else str(n) for n in limits}
    assert [n for n in sorted(written) if not re.search(rf"(?<!\d)(?<!\d ){n}(?! ?\d)", text)] == []
