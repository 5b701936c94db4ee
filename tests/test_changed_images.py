"""A folder of images that changes between two calls of the same command: what changed runs again, and nothing else."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.encoding import tiny
from tests.test_views import photographs
from tests.test_workflow import planned, snakemake
from workflow.lib.data.index import read_index, write_index
from workflow.lib.evaluation import records
from workflow.lib.features import store

pytestmark = pytest.mark.slow
IMAGE = Path("photographs/train/noon/0.png")
FEATURES = "features/tiny/mine.safetensors"


def write(folder: Path, *backbones: str) -> None:
    own = {"source": "folder", "path": "photographs", "classnames": "names.csv"}
    config = {
        "study": "trial",
        "datasets": {"mine": own, "other": {"source": "folder", "path": "others"}},
        "backbones": {name: {"model": "tinyclip.json", "weights": "tinyclip.safetensors"} for name in backbones},
        "shots": [1],
        "seeds": 1,
        "methods": {"zero_shot": None},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    photographs(folder / "photographs")
    photographs(folder / "others")
    (folder / "names.csv").write_text("noon,high noon,midday\nnight,midnight\n")
    tiny.make(folder)
    write(folder, "tiny")
    done = snakemake(folder, snakefile=snakefile)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The study as it was left, its files with the times that they had."""
    return shutil.copytree(finished, tmp_path / "study", copy_function=shutil.copy2)


MINE = {
    "dataset mine: preparing images",
    "dataset mine: extracting features with tiny",
    "dataset mine: looking for duplicates with tiny",
    "dataset mine: writing out the supports",
    "mine, tiny: zero_shot, shots 0",
    "rendering the tables",
    "drawing the figures",
    "making the page",
    "mine, tiny: deciding what to use",
    "saying what to use",
    "mine, tiny: looking at the errors",
}


def replaced(folder: Path) -> None:
    """By another image of the same size."""
    path = folder / IMAGE
    content = path.read_bytes()
    path.write_bytes(content[:-20] + bytes(reversed(content[-20:])))


def added(folder: Path) -> None:
    shutil.copy(folder / IMAGE, folder / IMAGE.with_name("9.png"))


def class_added(folder: Path) -> None:
    shutil.copytree(folder / IMAGE.parent, folder / "photographs/train/dusk")
    (folder / "names.csv").write_text((folder / "names.csv").read_text() + "dusk,nightfall\n")


def renamed(folder: Path) -> None:
    (folder / "names.csv").write_text("noon,high noon\nnight,midnight\n")


def copied(folder: Path) -> None:
    """Without the times of the files."""
    shutil.copytree(folder / "photographs", folder / "copy", copy_function=shutil.copy)
    shutil.rmtree(folder / "photographs")
    (folder / "copy").rename(folder / "photographs")


def texts_beside(folder: Path) -> None:
    (folder / "photographs/train/noon/notes.txt").touch()
    (folder / "photographs/train/.DS_Store").touch()


def gone(folder: Path) -> None:
    """Features outlive their images."""
    shutil.rmtree(folder / "photographs")


CHANGES: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "nothing": (lambda folder: None, set()),
    "an image replaced": (replaced, MINE),
    "an image deleted": (lambda folder: (folder / IMAGE).unlink(), MINE),
    "an image added": (added, MINE),
    "a class added": (class_added, MINE),
    "a class renamed": (renamed, MINE),
    "a folder copied": (copied, set()),
    "texts beside images": (texts_beside, set()),
    "a folder that has gone": (gone, set()),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_images_runs_again_exactly_what_it_must(
    copy: Path, snakefile: Path, change: Callable[[Path], object], expected: set[str]
) -> None:
    change(copy)
    assert planned(copy, snakefile) == expected


def test_names_and_prompts_are_in_the_features_the_record_and_the_table(finished: Path) -> None:
    made = store.read(finished / FEATURES)
    assert made.classnames == ("midnight", "high noon")
    assert made.metadata["names"] == [["midnight"], ["high noon", "midday"]]
    assert made.metadata["index"] == read_index(finished / "data/mine/index.json").fingerprint()
    record = records.read(finished / "results/trial/metrics/mine/tiny/zero_shot/0.json")
    prompts = {"templates": ["a photo of a {}."], "first": ["a photo of a midnight."]}
    assert record["provenance"]["prompts"] == prompts
    assert "Prompts: 'a photo of a midnight.'" in (finished / "results/trial/tables/mine.tiny.md").read_text()
    log = (finished / "features/tiny/mine.log").read_text()
    assert "prompts: 2 classes, 1 templates, as 'a photo of a midnight.', 'a photo of a high noon.'" in log


def test_a_bad_image_is_named_and_once_it_is_deleted_the_same_command_goes_on(copy: Path, snakefile: Path) -> None:
    bad = copy / "photographs/train/noon/broken.png"
    bad.write_bytes((copy / IMAGE).read_bytes()[:200])
    failed = snakemake(copy, FEATURES, snakefile=snakefile)
    assert failed.returncode == 1
    assert "broken.png" in failed.stdout + failed.stderr
    bad.unlink()
    done = snakemake(copy, FEATURES, snakefile=snakefile)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(store.read(copy / FEATURES).files["train"]) == 8
    assert planned(copy, snakefile, FEATURES) == set()


def test_a_backbone_added_later_does_not_see_other_images_than_the_first(copy: Path, snakefile: Path) -> None:
    replaced(copy)
    write(copy, "tiny", "second")
    assert planned(copy, snakefile) >= MINE | {"dataset mine: extracting features with second"}


def test_features_of_another_list_are_not_used_whatever_snakemake_is_told(copy: Path, snakefile: Path) -> None:
    index, record = copy / "data/mine/index.json", copy / "results/trial/metrics/mine/tiny/zero_shot/0.json"
    times = index.stat()
    found = read_index(index)
    write_index(index, replace(found, contents="other bytes"))
    os.utime(index, ns=(times.st_atime_ns, times.st_mtime_ns))
    record.unlink()
    failed = snakemake(copy, "--rerun-triggers", "mtime", snakefile=snakefile)
    assert failed.returncode == 1
    assert "were made from another list of images than data/mine/index.json" in failed.stdout + failed.stderr
    assert not record.exists()


def test_a_fault_of_the_folder_is_one_line_and_nothing_starts(copy: Path, snakefile: Path) -> None:
    os.rename(copy / "photographs/test", copy / "photographs/tets")
    done = snakemake(copy, snakefile=snakefile)
    assert done.returncode == 1
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
    assert lines == [
        "error: study.yaml:8: datasets.mine.path: photographs has no test/, which the study reports (protocol.report); "
        "it has train; did you mean tets/? Rename it"
    ]
