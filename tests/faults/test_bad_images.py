"""A study with images that can't be read: all are named in one run, and on request it goes on without them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.faults import study
from workflow.lib.features import store

pytestmark = pytest.mark.slow
BAD = ["train/night/1.png", "test/noon/0.png"]
STRIP = "test/noon/1.png"
SUPPORTS = "results/faults/supports/photos.json"
METRICS = "results/faults/metrics/photos/tiny/means/1.json"


def change(folder: Path, **keys: Any) -> None:
    """Change keys of the dataset in the study's file."""
    config = yaml.safe_load((folder / "study.yaml").read_text())
    config["datasets"]["photos"] |= keys
    (folder / "study.yaml").write_text(yaml.safe_dump(config))


def test_from_the_line_that_names_them_to_the_line_under_the_table(
    tmp_path: Path, snakefile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = study.fill(
        tmp_path / "study", backbones={"tiny": {**study.TINY["tiny"], "weights": "~/tinyclip.safetensors"}}
    )
    monkeypatch.setenv("HOME", str(folder))  # for `~`
    (folder / "photographs" / BAD[0]).write_bytes(b"<html>moved</html>")
    (folder / "photographs" / BAD[1]).write_bytes(b"")
    Image.new("RGB", (6_000, 6)).save(folder / "photographs" / STRIP)
    text = study.fail(snakefile, folder)
    for name in (*BAD, STRIP):
        assert f"can't be read: {folder}/photographs/{name}" in text
    assert "or add `skip_bad_images: true` to the dataset's entry" in text

    change(folder, skip_bad_images=True, shards=2, max_aspect=1000)
    study.finish(snakefile, folder, "tables", SUPPORTS)
    table = (folder / "results/faults/tables/photos.tiny.md").read_text()
    assert "2 images can't be read and are left out; the log of the features lists them." in table
    extraction = json.loads((folder / METRICS).read_text())["provenance"]["extraction"]
    assert (extraction["left_out"], extraction["activation"], extraction["preprocess"]["size"]) == (2, "GELU", [32, 32])
    made = store.read(folder / "features/tiny/photos.safetensors")
    assert made.metadata["left_out"].keys() == set(BAD)
    assert [len(made.files[split]) for split in ("train", "test")] == [7, 5]
    drawn = (folder / SUPPORTS).read_text()
    assert BAD[0] not in drawn
