"""Forty-two pictures without a split: through `table`, and a picture that stands on two sides."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml

from tests.data.pictures import cloths
from tests.encoding import tiny
from tests.studies import planned, run
from workflow.lib.data.index import read_index

pytestmark = pytest.mark.slow


def write_list(folder: Path, label: str = "intact") -> None:
    """As a spreadsheet in Europe under Windows writes it."""
    names = {"global": "weave", "local": "spot", "nominal": label}
    with (folder / "list.csv").open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["file", "label", "burst"])
        for path in sorted((folder / "cloth").rglob("*.jpg")):
            rows.writerow([f"cloth\\{path.parent.name}\\{path.name}", names[path.parent.name], path.stem[-1]])


@pytest.fixture(scope="module")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    cloths(folder / "cloth")
    write_list(folder)
    for split, numbers in {"train": range(4), "test": range(4, 8)}.items():
        for fault in ("local", "nominal"):
            (folder / "given" / split / fault).mkdir(parents=True)
            for number in numbers:
                shutil.copy(folder / "cloth" / fault / f"{fault}_{number:03d}.jpg", folder / "given" / split / fault)
    shutil.copy(folder / "given/train/local/local_001.jpg", folder / "given/test/local/again.jpg")
    tiny.make(folder)
    listed = {"source": "table", "path": "list.csv", "columns": {"image": "file"}, "groups": "burst"}
    study = {
        "study": "cloth",
        "datasets": {
            "listed": {**listed, "split": {"test": 0.5}},
            "given": {"source": "folder", "path": "given"},
        },
        "backbones": {"tiny": {"model": "tinyclip.json", "weights": "tinyclip.safetensors"}},
        "shots": [1],
        "seeds": 1,
        "protocol": {"report": "test", "select": "last"},
        "methods": {"tip_adapter": None},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    run(folder, "tables", snakefile=snakefile)
    return folder


def sizes(folder: Path, name: str) -> dict[str, int]:
    return {split: len(own) for split, own in read_index(folder / f"data/{name}/index.json").splits.items()}


def test_a_list_leads_to_a_split_and_a_table(finished: Path) -> None:
    assert sum(sizes(finished, "listed").values()) == 42
    index = read_index(finished / "data/listed/index.json")
    assert index.classnames == ("intact", "spot", "weave")
    bursts = [{file[-5] for file, _ in own} for own in index.splits.values()]
    assert not bursts[0] & bursts[1]
    assert "byte for byte" not in (finished / "results/cloth/tables/listed.tiny.md").read_text()


def test_a_picture_on_two_sides_stands_below_the_table(finished: Path) -> None:
    table = (finished / "results/cloth/tables/given.tiny.md").read_text()
    assert "Of the images of test, 1 is in train too, byte for byte" in table
    assert "python -m workflow.scripts.duplicates" in table


def test_a_label_in_the_list_that_has_changed_runs_again_what_depends_on_it(finished: Path, snakefile: Path) -> None:
    assert planned(finished, snakefile, "tables") == set()
    write_list(finished, label="good")
    found = planned(finished, snakefile, "tables")
    write_list(finished)
    assert "dataset listed: preparing images" in found
    assert not any("given" in job for job in found)
