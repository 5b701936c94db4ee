"""A study whose images go through the model in shards, run for real: the same bytes, and what is lost made again."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.encoding import tiny
from tests.studies import photographs, planned, run, snakemake
from workflow.lib.features import took

pytestmark = pytest.mark.slow
FEATURES = "features/tiny/photographs.safetensors"
SHARDS = "features/tiny/.shards/sharded"


def write(folder: Path, home: Path, **settings: object) -> None:
    """The study with these settings of its dataset; images and model lie in `home`."""
    dataset = {"source": "folder", "path": str(home / "photographs"), "views": 2}
    backbone = {"model": str(home / "tinyclip.json"), "weights": str(home / "tinyclip.safetensors")}
    config = {
        "study": "sharded",
        "datasets": {"photographs": dataset | settings},
        "backbones": {"tiny": backbone | {"batch_size": 3}},
        "shots": [2],
        "seeds": 1,
        "methods": {"zero_shot": None, "tip_adapter": None},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run in one go."""
    folder = tmp_path_factory.mktemp("shards") / "study"
    folder.mkdir()
    photographs(folder / "photographs")
    tiny.make(folder)
    write(folder, folder)
    run(folder, "tables", snakefile=snakefile)
    return folder


def jobs(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a run did, in the words of its messages."""
    lines = (done.stdout + done.stderr).splitlines()
    return [line.split(": ", 2)[2] for line in lines if line.startswith("Job ") and ": dataset " in line]


@pytest.mark.parametrize("shards", [1, 2, 7])
def test_another_number_of_shards_makes_nothing_again(finished: Path, snakefile: Path, shards: int) -> None:
    try:
        write(finished, finished, shards=shards)
        assert planned(finished, snakefile, "tables") == set()
    finally:
        write(finished, finished)


def test_shards_give_the_same_bytes_and_leave_nothing_behind(finished: Path, snakefile: Path, tmp_path: Path) -> None:
    """One of the three shards is lost before they are gathered, and is the only one that is made again."""
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    (folder / FEATURES).unlink()
    write(folder, finished, shards=3)
    parts = [f"{SHARDS}/photographs.{number}-of-3.safetensors" for number in (1, 2, 3)]
    first = run(folder, *parts, snakefile=snakefile)
    assert sorted(jobs(first)) == [f"shard {number} of 3 with tiny" for number in (1, 2, 3)]
    (folder / parts[1]).unlink()
    second = run(folder, FEATURES, snakefile=snakefile)
    expected = ["extracting features with tiny", "gathering 3 shards", "shard 2 of 3 with tiny"]
    assert sorted(jobs(second)) == expected
    assert (folder / FEATURES).read_bytes() == (finished / FEATURES).read_bytes()
    assert not [path for path in (folder / "features").rglob(".*/**/*") if path.suffix in {".safetensors", ".json"}]
    whole, gathered = (took.read(home / FEATURES) for home in (finished, folder))
    assert {**whole, "seconds": 0} == {**gathered, "seconds": 0}
    assert min(whole["seconds"], gathered["seconds"]) > 0
    assert planned(folder, snakefile, "tables") & {f"dataset photographs: {job}" for job in expected} == set()


def test_a_change_of_the_images_goes_through_all_shards_again(finished: Path, snakefile: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    write(folder, finished, shards=2, views=3)
    found = {job for job in planned(folder, snakefile, "tables") if job.startswith("dataset")}
    assert {"dataset photographs: shard 1 of 2 with tiny", "dataset photographs: gathering 2 shards"} <= found


def test_damaged_features_are_named_by_the_cell_that_uses_them_and_made_again_on_request(
    finished: Path, snakefile: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "study"))
    write(folder, finished)
    content = bytearray((folder / FEATURES).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / FEATURES).write_bytes(content)
    shutil.rmtree(folder / "results")
    done = snakemake(folder, snakefile=snakefile)
    assert done.returncode != 0
    line = next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: {FEATURES}: damaged: ")
    assert "delete it, and the next run makes it anew" in line
    (folder / FEATURES).unlink()
    run(folder, FEATURES, "--rerun-incomplete", snakefile=snakefile)
    assert (folder / FEATURES).read_bytes() == (finished / FEATURES).read_bytes()


def test_features_from_elsewhere_have_nothing_to_share_out(finished: Path, snakefile: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "study: x\ndatasets:\n  mine: {source: features, shards: 2}\nbackbones:\n  b: {features: 'v/{dataset}.npz'}\n"
        "shots: [1]\nmethods: {zero_shot: }\n"
    )
    done = snakemake(tmp_path, "-n", snakefile=snakefile)
    assert "datasets.mine.shards: there are no images to share out" in done.stdout + done.stderr
