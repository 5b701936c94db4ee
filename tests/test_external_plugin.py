"""A method in an installed package is found by its entry point, keeps the contract and is used in a study."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tests" / "external_plugin"
STUDY = """
study: external
datasets: {made: {source: features}}
backbones: {mine: {features: "{dataset}.npz"}}
shots: [2]
seeds: 2
methods:
  zero_shot: {}
  nearest_class: {scale: [1, 10]}
"""

pytestmark = pytest.mark.slow


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package, installed as a user installs one, from a copy: a build leaves files behind."""
    copy = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("package") / "nearest_class_package")
    pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    result = python(*pip, "install", "--no-deps", "--no-index", "--no-build-isolation", str(copy))
    assert result.returncode == 0, result.stderr
    yield
    python(*pip, "uninstall", "--yes", "nearest-class")


def test_it_is_listed_with_its_package() -> None:
    listed = json.loads(python("-m", "methods", "list", "--json").stdout)
    assert listed["broken"] == []
    (mine,) = [one for one in listed["methods"] if one["name"] == "nearest_class"]
    assert mine["from"] == "package nearest-class"


def test_it_keeps_the_contract() -> None:
    result = python("-m", "methods", "check", "nearest_class")
    assert result.returncode == 0, result.stdout


def test_a_study_uses_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 8))
    labels = np.repeat(np.arange(4), 5)
    arrays = {f"{split}_x": (centres[labels] + rng.normal(size=(20, 8))).astype("f4") for split in ("train", "test")}
    names = np.array(["a", "b", "c", "d"])
    np.savez(tmp_path / "made.npz", train_y=labels, test_y=labels, classnames=names, text_x=centres, **arrays)
    (tmp_path / "study.yaml").write_text(STUDY)
    snakemake = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(ROOT / "Snakefile")]
    command = [*snakemake, "tables", "--cores", "2", "--configfile", "study.yaml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    table = (tmp_path / "results" / "external" / "tables" / "made.mine.md").read_text(encoding="utf-8")
    assert "| nearest_class (scale=1)" in table
    assert "| nearest_class (scale=10)" in table
