"""Two studies started at the same moment that share a folder of features."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults import study
from tests.faults.test_failed import change
from tests.studies import photographs

pytestmark = pytest.mark.slow


def shared(folder: Path, features: Path, **changes: object) -> Path:
    """A study whose features lie in `features`."""
    study.fill(folder)
    change(folder, folders={"features": os.fspath(features)}, **changes)
    return folder


def test_two_directories_at_the_same_moment(snakefile: Path, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    folders = [shared(tmp_path / name, tmp_path / "features") for name in ("first", "second")]
    with ExitStack() as stack:
        runs = [stack.enter_context(study.running(snakefile, folder, "tables")) for folder in folders]
        assert [run.wait() for run in runs] == [0, 0], "\n".join(run.text() for run in runs)
    for folder in folders:
        made = study.outcome(folder, features="../features")
        assert without_paths(made) == without_paths(study.up_to_tables(undisturbed))
    assert [path.name for path in (tmp_path / "features/mine").glob(".*")] == []


def without_paths(made: dict[str, Any]) -> dict[str, Any]:
    """An outcome without the place of the features, which is another here."""
    for content in made.values():
        if isinstance(content, dict) and "provenance" in content:
            content["provenance"].pop("features", None)
    return made


def test_features_of_another_backbone_under_the_same_name_are_not_used(
    snakefile: Path, copy: Path, tmp_path: Path
) -> None:
    """The Snakemake of one folder knows nothing of what another folder's study meant by the name."""
    folder = shared(tmp_path / "other", copy / "features", backbones={"mine": {"model": "RN50", "pretrained": "x"}})
    photographs(folder / "photographs")
    text = study.fail(snakefile, folder, "results/faults/metrics/photos/mine/means/1.json")
    assert f"error: {copy}/features/mine/photos.safetensors: the model was none, but vectors from elsewhere" in text
