"""A study file: what a right one becomes, and the one line with which a wrong one ends."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow.lib import study
from workflow.lib.errors import UserError

ROOT = Path(__file__).parents[2]
BASE = """\
study: trial
datasets:
  digits: {source: digits}
  sheets:
    source: folder
    path: photographs
    templates: ["a photo of a {}."]
backbones:
  small: {model: ViT-B-32, pretrained: laion2b_s34b_b79k}
  given: {features: "vectors/{dataset}.npz"}
shots: [1, 4, all]
seeds: 2
protocol:
  report: test
  select: last
plugins: []
methods:
  zero_shot: {}
  clip_adapter:
    ratio: [0.1, 0.2]
    lr: 1e-4
  bn: {method: linear_probe, batch_norm: true}
folders: {results: results}
"""


def write(folder: Path, text: str, name: str = "study.yaml") -> Path:
    """A study file in a folder."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(*files: Path, **overrides: Any) -> study.Study:
    """The study of the files as Snakemake hands it over: merged, with the command line's values on top."""
    config: dict[str, Any] = {}
    for file in files:
        config |= yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return study.load(config | overrides, files)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that we are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(*files: Path, **overrides: Any) -> str:
    """The text of the error that loading ends with."""
    with pytest.raises(UserError) as caught:
        load(*files, **overrides)
    return str(caught.value)
