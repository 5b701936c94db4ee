"""Every block of README and docs is run, not read: for real where that is cheap, and as a plan where it is not."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from tests import starts
from tests.data.pictures import cloths
from tests.studies import copy_code, photographs
from workflow.lib.study import schema, study

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# What can't run here, and why.
NOT_RUN = {
    "make run": "sets up an environment of 7 GB and takes minutes; tests/test_environment.py looks at its parts",
    "make test": "runs these tests",
    "python -m workflow.scripts.duplicates features/b32/mine.safetensors --index data/mine/index.json": (
        "of features by a model that is downloaded; tests/features/test_duplicates.py runs it on others"
    ),
    "source .venv/bin/activate": "these tests run in an environment already",
}
# Commands of Snakemake that are quick enough to be run; of the others, `-n` says what they do. mine.yaml is run by
# tests/test_docs.py.
REAL = ("partial_tables", "--report", "-n")
# Parts of studies that can't be started here, by their page, and why: of them the shape is checked.
FRAGMENTS = {"data.md": "folders that a reader may have; tests/data/test_names.py has names from each source"}
NO_CODE = ("text", "mermaid")  # a list of paths; a diagram, which GitHub draws

# The quickstart's name and rows, in a size for a test. The protocol is the example of docs/protocol.md.
SMALL = """\
study: quickstart
datasets:
  digits: {source: digits}
backbones:
  nano: {model: workflow/assets/nano/model.json, weights: workflow/assets/nano/model.safetensors}
shots: [1]
seeds: 2
methods:
  zero_shot: {}
  clip_adapter: {ratio: [0.1, 0.2]}
  linear_probe: {batch_norm: [false, true]}
"""


def blocks(language: str) -> list[tuple[str, str]]:
    """Every block of a language: where it stands, and its text."""
    return [
        (f"{page.name}:{text[: match.start()].count(chr(10)) + 1}", match.group(2))
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for match in BLOCK.finditer(text)
        if match.group(1) == language
    ]


def commands() -> Iterator[Any]:
    """Every line of every shell block, without its comment; what several pages have, once."""
    places: dict[str, str] = {}
    for place, text in blocks("sh"):
        for line in text.splitlines():
            places.setdefault(re.sub(r"\s+# .*", "", line), place)
    for command, place in places.items():
        yield pytest.param(command, id=f"{place} {command}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the files that the pages tell a reader to write, photographs, and a small study's results."""
    folder = tmp_path_factory.mktemp("reader")
    copy_code(ROOT, folder)
    weights = Path("workflow", "assets", "nano", "model.safetensors")
    (folder / weights).symlink_to(ROOT / weights)
    shutil.copytree(ROOT / "studies", folder / "studies")
    for language in ("python", "yaml"):
        for _, text in blocks(language):
            if named := re.match(r"# (\S+)\n", text):
                (folder / named.group(1)).write_text(text, encoding="utf-8")
    photographs(folder / "photos")
    cloths(cloths(folder / "cloth", 8).parent / "more", 2)
    (folder / "more" / "global").rename(folder / "new")
    regimes = re.search(r"`(select: \[.*?\])`", (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8"))
    assert regimes is not None
    protocol = {"protocol": {"report": "test", **yaml.safe_load(regimes.group(1))}}
    (folder / "config.yaml").write_text(SMALL + yaml.safe_dump(protocol))
    for command in ("snakemake --cores 2", "snakemake ship --cores 2 --configfile cloth.yaml"):
        done = run(command, folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A line in a shell of the reader's folder."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": path}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        found = {language for language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))}
        assert found <= {"sh", "yaml", "python", "toml", *NO_CODE}, page.name


def test_what_is_not_run_stands_somewhere_and_has_a_reason() -> None:
    assert set(NOT_RUN) <= {param.values[0] for param in commands()}
    assert all(NOT_RUN.values())


@pytest.mark.slow
@pytest.mark.parametrize("command", [param for param in commands() if param.values[0] not in NOT_RUN])
def test_a_command_runs(command: str, folder: Path) -> None:
    words = shlex.split(command)
    planned = "snakemake" in words and not any(real in command for real in REAL)
    if planned and words[0] == "snakemake":
        done = starts.snakemake([*words[1:], "-n"], folder)
    else:
        done = run(f"{command} -n" if planned else command, folder)
    assert done.returncode == 0, done.stdout + done.stderr


NAMED = [(place, text) for place, text in blocks("yaml") if text.startswith("# ")]
PARTS = [(place, text) for place, text in blocks("yaml") if not text.startswith("# ")]


@pytest.mark.slow
@pytest.mark.parametrize("text", [pytest.param(text, id=place) for place, text in NAMED])
def test_a_study_can_be_started(text: str, folder: Path) -> None:
    done = starts.snakemake(["-n", "--configfile", text.split()[1]], folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("place", "text"), PARTS)
def test_a_part_of_a_study_has_its_shape_and_a_reason_for_not_being_started(place: str, text: str) -> None:
    schema.check(yaml.safe_load(SMALL) | yaml.safe_load(text), study.SCHEMA, lambda keys, message: ValueError(message))
    assert FRAGMENTS[place.split(":")[0]]


@pytest.mark.slow
def test_the_example_of_the_protocol_gives_its_table(folder: Path) -> None:
    table = (folder / "results/quickstart/tables/digits.nano.regimes.csv").read_text()
    assert table.splitlines()[0].startswith('method,"1 shot, last","1 shot, last sd","1 shot, val_full"')


@pytest.mark.slow
def test_the_lines_for_pandas_make_a_table_in_which_zero_shot_stands_in_every_column(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lines,) = [text for place, text in blocks("python") if "read_csv" in text]
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"pandas": pandas}
    exec(lines, names)
    table = names["table"]
    assert list(table.columns) == ["1"]
    assert ("digits", "zero_shot", "-") in table.index
    assert table.notna().all().all()
    assert len(table) == 5


@pytest.mark.parametrize("text", [pytest.param(text, id=place) for place, text in blocks("toml")])
def test_a_block_of_toml_names_the_group_that_is_looked_at(text: str) -> None:
    from methods.tools import registry as methods
    from workflow.lib.data import registry as sources

    (group,) = tomllib.loads(text)["project"]["entry-points"]
    assert group in (methods.GROUP, sources.GROUP)


@pytest.mark.slow
def test_the_predictions_of_the_page_on_photos_are_of_the_new_photographs(folder: Path) -> None:
    shipped = "results/cloth/shipped/cloth.nano"
    done = run(f"python -m workflow.scripts.predict {shipped} new --out new.csv --html sheet.html", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    header, *lines = (folder / "new.csv").read_text().splitlines()
    assert header.startswith("file,label,probability,second_label,margin,unsure,")
    assert len(lines) == len(list((folder / "new").iterdir())) == 2
    assert (folder / "sheet.html").read_text().count("<figure") == 2
