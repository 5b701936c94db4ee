"""The whole workflow, as a user starts it: what it writes, what it runs again, and how it refuses a wrong study."""

import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import yaml

from methods import unit
from methods.contract.needs import arrays
from tests.samples import make_features
from tests.studies import ROOT, copy_code, of_vectors, planned, save_vectors, snakemake
from workflow.lib.evaluation import records, scoring, supports
from workflow.lib.features import store
from workflow.lib.reporting import results
from workflow.lib.study import study

DATASETS = ("shapes", "bare")  # the second has no text
STUDY = """\
study: trial
datasets:
  shapes: {source: features}
  bare: {source: features}
backbones:
  mine: {features: "vectors/{dataset}.npz"}
shots: [1, 2]
seeds: 2
protocol: {report: test, select: last}
plugins: [means.py]
methods:
  logistic_regression: {scale: [none, standard]}
  zero_shot: {}
  means: {sign: 1.0}
"""
PLUGIN = '''\
"""A plugin: the nearest class mean."""

from averages import sums
from methods import Method, Param, hookimpl


class Means(Method):
    """The nearest class mean."""

    name = "means"
    params = {"sign": Param(1.0, "what the logits are multiplied with")}

    def classifier(self, task, replica):
        support = task.supports[replica.seed]
        means = replica.params["sign"] * sums(support, task.classes)
        return lambda queries: queries @ means.T


@hookimpl
def register_methods():
    return [Means]
'''
SIBLING = "def sums(support, classes):\n    return support.one_hot(classes).T @ support.x\n"
pytestmark = pytest.mark.slow  # a start of Snakemake takes two seconds, and there are thirty here

SAID = "saying what to use"


def decided(*datasets: str) -> set[str]:
    """What is found of one dataset alone."""
    return {f"{one}, mine: {what}" for one in datasets for what in ("deciding what to use", "looking at the errors")}


OF_ALL = "rendering the tables", "drawing the figures", "making the page", SAID
WHOLE = *OF_ALL, *decided(*DATASETS)


def fill(folder: Path) -> None:
    """A study, its plugin and its vectors."""
    plugins = {"means.py": PLUGIN, "averages.py": SIBLING}
    of_vectors(folder, STUDY, plugins, DATASETS, without_text=["bare"])


@pytest.fixture(scope="module")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has been run, to look at; to change it, take a copy."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    fill(folder)
    done = snakemake(folder, snakefile=snakefile)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A finished study of one's own: the times of the files are kept."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def cells(folder: Path) -> dict[tuple[str, ...], records.Record]:
    """Every record of the study by (dataset, backbone, method, shots)."""
    root = folder / "results" / "trial" / "metrics"
    return {path.relative_to(root).with_suffix("").parts: records.read(path) for path in sorted(root.rglob("*.json"))}


# --- what a run writes -------------------------------------------------------------------------------------------


def test_a_run_says_how_far_its_cells_are_in_one_line_and_leaves_no_unfinished_tables(finished: Path) -> None:
    said = (finished / "stderr.txt").read_text()
    count = len(cells(finished))
    assert f"cells: {count} of {count}, " in said
    assert "(Rule: evaluate)" not in said
    assert ", about -" not in said  # no time left below nothing
    assert "wrote features/mine/" in (finished / "stdout.txt").read_text()
    assert not (finished / "results/trial/partial_tables").exists()


def test_there_is_a_record_for_every_cell_and_none_besides(finished: Path) -> None:
    learned = product(DATASETS, ["mine"], ["logistic_regression", "means"], ["1", "2"])
    assert set(cells(finished)) == {*learned, *product(DATASETS, ["mine"], ["zero_shot"], ["0"])}


def test_a_record_says_which_cell_it_is(finished: Path) -> None:
    for place, record in cells(finished).items():
        assert (record["dataset"], record["backbone"], record["method"], record["shots"]) == place
        assert record["provenance"]["features"] == f"features/mine/{place[0]}.safetensors"
        assert re.fullmatch("[0-9a-f]{16}", record["provenance"]["code"])


def test_predictions_agree_with_the_record_beside_them(finished: Path) -> None:
    for place, record in cells(finished).items():
        path = finished.joinpath("results", "trial", "predictions", *place).with_suffix(".npz")
        with np.load(path, allow_pickle=False) as arrays:
            names, hits = arrays["variants"].tolist(), arrays["predicted"] == arrays["labels"]
        ran = [variant for variant in record["variants"] if variant["status"] == "ok"]
        assert names == [variant["variant"] for variant in ran]
        for variant, found in zip(ran, hits, strict=True):
            assert [seed["metrics"]["accuracy"] for seed in variant["seeds"]] == found.mean(-1).tolist()


def test_the_method_got_the_supports_of_its_seeds_and_was_scored_on_the_reported_split(finished: Path) -> None:
    """The plugin's arithmetic once more, by hand."""
    made = store.read(finished / "features" / "mine" / "shapes.safetensors")
    train, test = made.splits["train"], made.splits["test"]
    record = cells(finished)["shapes", "mine", "means", "2"]
    for seed in record["variants"][0]["seeds"]:
        rows = supports.draw(train.y, made.classnames, "2", seed["seed"])
        support = unit(train.x[rows])
        means = np.stack([support[train.y[rows] == k].sum(0) for k in range(len(made.classnames))])
        expected = scoring.metrics(unit(test.x[:]) @ means.T, test.y)
        assert {name: seed["metrics"][name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_results_csv_is_every_number_of_the_records(finished: Path) -> None:
    with (finished / "results/trial/tables/results.csv").open(newline="") as file:
        reader = csv.DictReader(file)
        found = [tuple(line.values()) for line in reader]
    assert tuple(reader.fieldnames or ()) == results.HEADER
    expected = {
        ("trial", *place[:3], variant["variant"], place[3], str(seed["seed"]), metric, repr(value))
        for place, record in cells(finished).items()
        for variant in record["variants"]
        for seed in variant["seeds"]
        for metric, value in seed["metrics"].items()
    }
    assert set(found) == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("name", ["shapes.mine", "bare.mine", "summary"])
@pytest.mark.parametrize("suffix", ["md", "csv", "tex", "html"])
def test_every_table_is_there_in_every_format(finished: Path, name: str, suffix: str) -> None:
    assert (finished / "results/trial/tables" / f"{name}.{suffix}").stat().st_size > 0


def test_a_table_s_numbers_are_those_of_the_records(finished: Path) -> None:
    with (finished / "results/trial/tables/shapes.mine.csv").open(newline="") as file:
        rows = {row.pop("method"): row for row in csv.DictReader(file)}
    names = ["zero_shot", "logistic_regression (scale=none)", "logistic_regression (scale=standard)", "means"]
    assert list(rows) == names
    for shots in ("1", "2"):
        variant = cells(finished)["shapes", "mine", "logistic_regression", shots]["variants"][1]
        accuracies = [100 * seed["metrics"]["accuracy"] for seed in variant["seeds"]]
        heading = "1 shot" if shots == "1" else "2 shots"
        assert rows["logistic_regression (scale=standard)"][heading] == f"{np.mean(accuracies):.2f}"
        assert rows["logistic_regression (scale=standard)"][f"{heading} sd"] == f"{np.std(accuracies, ddof=1):.2f}"
    assert rows["zero_shot"]["1 shot"] == rows["zero_shot"]["2 shots"]


def test_without_text_a_method_that_needs_it_is_n_a_and_the_table_says_why(finished: Path) -> None:
    text = (finished / "results/trial/tables/bare.mine.md").read_text()
    assert re.search(r"\| zero_shot \[1\] +\| +n/a +\| +n/a +\|", text)
    assert "[1] needs text, which these features don't have" in text
    assert cells(finished)["bare", "mine", "zero_shot", "0"]["variants"][0]["status"] == "n/a"


def test_the_tables_are_printed_at_the_end_with_where_they_lie(finished: Path) -> None:
    printed = (finished / "stdout.txt").read_text()
    assert re.search(r"logistic_regression \(scale=none\) +\S+ ± ", printed)
    assert "Protocol: report test, select last" in printed
    assert "results/trial/tables/" in printed


# --- what runs again ---------------------------------------------------------------------------------------------


def jobs(*methods: str, shots: str = "12", datasets: tuple[str, ...] = DATASETS) -> set[str]:
    """The messages of the cells of some methods."""
    return {f"{dataset}, mine: {method}, shots {n}" for method in methods for n in shots for dataset in datasets}


ZERO_SHOT = jobs("zero_shot", shots="0")
LEARNED = jobs("logistic_regression", "means")
SUPPORTS = {f"dataset {dataset}: writing out the supports" for dataset in DATASETS}
EXTRACTION = {f"dataset {dataset}: extracting features with mine" for dataset in DATASETS}
DOUBLES = {f"dataset {dataset}: looking for duplicates with mine" for dataset in DATASETS}


def in_file(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of one file of the study."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert text.count(old) == 1
        (folder / name).write_text(text.replace(old, new))

    return change


def words_alone(folder: Path) -> None:
    """What changes no result."""
    in_file("study.yaml", "seeds: 2", "seeds: 2  # two")(folder)
    in_file("study.yaml", "standard]", "standard], C: 1.0")(folder)
    in_file("means.py", "    def classifier", "    # why\n\n    def classifier")(folder)


def other_vectors(folder: Path) -> None:
    """The same group, but with another model."""
    save_vectors(folder / "vectors" / "shapes.npz", make_features(seed=7))


def another_data_set(folder: Path) -> None:
    save_vectors(folder / "vectors" / "more.npz", make_features(seed=2))
    in_file("study.yaml", "  bare: ", "  more: {source: features}\n  bare: ")(folder)


CHANGES = {
    "comments, and a default written out": (words_alone, set()),
    "how many jobs share a GPU, and a limit on their time": (
        in_file("study.yaml", "seeds: 2", "seeds: 2\njobs_per_gpu: 2\ncell_minutes: 90"),
        set(),
    ),
    "a parameter": (in_file("study.yaml", "standard]", "standard], C: 2"), {*jobs("logistic_regression"), *WHOLE}),
    "a plugin's code": (in_file("means.py", "queries @ means.T", "2 * queries @ means.T"), {*jobs("means"), *WHOLE}),
    "what a plugin imports": (in_file("averages.py", "@ support.x", "@ (2 * support.x)"), {*jobs("means"), *WHOLE}),
    "a method more": (
        in_file("study.yaml", "  zero_shot: {}", "  zero_shot: {}\n  weak: {method: logistic_regression, C: 0.1}"),
        {*jobs("weak"), *WHOLE},
    ),
    "a method less": (in_file("study.yaml", "  means: {sign: 1.0}\n", ""), {*WHOLE}),
    "another order": (
        in_file("study.yaml", "  zero_shot: {}\n  means: {sign: 1.0}", "  means: {sign: 1.0}\n  zero_shot: {}"),
        {*WHOLE},
    ),
    "a seed more": (in_file("study.yaml", "seeds: 2", "seeds: 3"), {*LEARNED, *SUPPORTS, *WHOLE}),
    "shots more": (
        in_file("study.yaml", "[1, 2]", "[1, 2, 3]"),
        {*jobs("logistic_regression", "means", shots="3"), *SUPPORTS, *WHOLE},
    ),
    "shots less": (in_file("study.yaml", "[1, 2]", "[2]"), {*SUPPORTS, *WHOLE}),
    "another protocol": (in_file("study.yaml", "select: last", "select: report"), {*LEARNED, *ZERO_SHOT, *WHOLE}),
    "a dataset more": (
        another_data_set,
        {
            *jobs("logistic_regression", "means", datasets=("more",)),
            *jobs("zero_shot", shots="0", datasets=("more",)),
            "dataset more: extracting features with mine",
            "dataset more: looking for duplicates with mine",
            "dataset more: writing out the supports",
            *decided("more"),
            *OF_ALL,
        },
    ),
    "other vectors": (
        other_vectors,
        {
            *(job for job in LEARNED | ZERO_SHOT | SUPPORTS | EXTRACTION | DOUBLES if "shapes" in job),
            *decided("shapes"),
            *OF_ALL,
        },
    ),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_runs_again_exactly_what_it_must(
    copy: Path, snakefile: Path, change: Callable[[Path], None], expected: set[str]
) -> None:
    change(copy)
    assert planned(copy, snakefile) == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("workflow/lib/engine/training.py", set()),  # trains what is not in this study
        ("methods/linear_probe.py", set()),
        ("methods/logistic_regression.py", {*jobs("logistic_regression"), *WHOLE}),
        ("methods/contract/base.py", {*LEARNED, *ZERO_SHOT, *SUPPORTS, *WHOLE}),
        ("workflow/lib/files.py", {*LEARNED, *ZERO_SHOT, *SUPPORTS, *WHOLE}),
        ("workflow/lib/evaluation/protocol.py", {*LEARNED, *ZERO_SHOT, *WHOLE}),
        ("workflow/scripts/tables.py", {"rendering the tables", "making the page", SAID}),
        ("workflow/lib/page/content.py", {"making the page"}),
        ("workflow/assets/report/page.css", {"making the page"}),
    ],
)
def test_an_edit_of_the_project_s_code_runs_again_what_depends_on_it(
    finished: Path, snakefile: Path, tmp_path: Path, module: str, expected: set[str]
) -> None:
    edited = copy_code(snakefile.parent, tmp_path)
    with (tmp_path / module).open("a") as file:
        file.write("\nEDITED = True\n" if module.endswith(".py") else "\n/* edited */\n")
    assert planned(finished, edited) == expected


def test_a_second_run_does_nothing(copy: Path, snakefile: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (copy / "results").rglob("*") if path.is_file()}
    done = snakemake(copy, snakefile=snakefile)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in (copy / "results").rglob("*") if path.is_file()} == before


# --- plugins that are checked ------------------------------------------------------------------------------------


def test_a_plugin_is_marked_until_it_has_passed_and_then_only_what_shows_it_is_made_again(
    copy: Path, snakefile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = copy / "results/trial/tables/shapes.mine.md"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mark = (
        "[1] not checked that it keeps the contract: python -m methods check means.py, then the study's command again"
    )
    assert mark in table.read_text()
    assert "| means [1] " in table.read_text()
    command = [sys.executable, "-m", "methods", "check", "means.py"]
    environment = os.environ | {"PYTHONPATH": str(snakefile.parent)}
    checked = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert planned(copy, snakefile) == {"rendering the tables", "making the page", SAID}
    assert snakemake(copy, snakefile=snakefile).returncode == 0
    assert "not checked" not in table.read_text()
    assert planned(copy, snakefile) == set()


def test_the_caller_s_pythonpath_reaches_the_jobs(
    copy: Path, snakefile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab").mkdir()
    (copy / "averages.py").rename(tmp_path / "lab" / "averages.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lab"))
    assert planned(copy, snakefile) == set()  # the same code, elsewhere
    in_file("averages.py", "@ support.x", "@ (2 * support.x)")(tmp_path / "lab")
    done = snakemake(copy, "results/trial/metrics/shapes/mine/means/1.json", snakefile=snakefile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cells(copy)["shapes", "mine", "means", "1"]["provenance"]["check"]["passed"] is False


# --- what goes wrong ---------------------------------------------------------------------------------------------


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: ")]


def left(folder: Path) -> set[str]:
    """The files in a folder; Snakemake's own notes don't count."""
    return {path.name for path in folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts}


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        ("means: {sign: 1.0}", "maens: {sign: 1.0}", [], "study.yaml:14: methods.maens: no method 'maens'; there are "),
        ("seeds: 2", "seeds: 2\nseeds: 3", [], "study.yaml:9: the key 'seeds' stands there twice"),
        (
            "[means.py]",
            "[mines.py]",
            [],
            "study.yaml:10: plugins[0]: can't load 'mines.py': FileNotFoundError: no such",
        ),
        ("seeds: 2", "seeds: 2", ["--config", "seeds=0"], "--config: seeds: found 0, allowed: at least 1"),
    ],
)
def test_a_wrong_study_is_one_line_and_nothing_starts(
    tmp_path: Path, old: str, new: str, options: list[str], message: str
) -> None:
    folder = tmp_path / "study"
    fill(folder)
    in_file("study.yaml", old, new)(folder)
    before = left(folder)
    done = snakemake(folder, *options)
    assert done.returncode == 1
    (line,) = errors(done)
    assert line.startswith(f"error: {message}")
    assert "Job " not in done.stdout + done.stderr
    assert left(folder) == before


@pytest.mark.parametrize("text", ["study: [", "", "- a list\n"])
def test_a_study_that_can_t_be_parsed_ends_without_a_traceback(tmp_path: Path, text: str) -> None:
    """Snakemake reads it before the Snakefile, so the words are its own."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.yaml").write_text(text)
    done = snakemake(tmp_path / "study")
    assert (done.returncode, errors(done)) == (1, [])
    assert "Config file" in done.stderr
    assert left(tmp_path) == {"study.yaml"}


def test_a_plugin_that_fails_names_itself_its_file_and_the_replica(copy: Path, snakefile: Path) -> None:
    in_file("means.py", "queries @ means.T", "float('nan') * queries @ means.T")(copy)
    target = "results/trial/metrics/shapes/mine/means/1.json"
    done = snakemake(copy, target, snakefile=snakefile)
    assert done.returncode == 1
    (line,) = errors(done)
    assert line.startswith(
        f"error: method 'means' (means.py, {copy}/means.py) failed: ValueError: variant '-', seed 0: "
    )
    assert line.endswith("logits are not finite at {}")
    assert not (copy / target).exists()
    assert "Traceback" in (copy / "results/trial/logs/shapes/mine/means/1.log").read_text()


# --- real studies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))], ids=lambda path: path.stem
)
def test_a_study_of_this_repository_has_a_plan(tmp_path: Path, path: Path) -> None:
    """A dry run looks for the files that a study names, but reads no image and no weights."""
    text = path.read_text()
    (tmp_path / "study.yaml").write_text(text)
    for name in re.findall(r"workflow/[\w/.]+", text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = study.load(yaml.safe_load(text), [path])
    done = snakemake(tmp_path, "-n")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE))
    assert counts["evaluate"] == str(len(found.cells()))
    needs = frozenset().union(*(spec.needs for spec in found.methods.values()))
    files = 1 + len(arrays(needs))
    assert counts["features"] == str(files * len(found.datasets) * len(found.backbones))
