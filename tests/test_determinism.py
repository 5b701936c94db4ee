"""The same study gives the same metrics to the last digit: twice, and whatever the number of cores."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.samples import without

ROOT = Path(__file__).parents[1]
STUDY = """
study: twice
datasets: {made: {source: features}}
backbones: {mine: {features: "{dataset}.npz"}}
shots: [1, all]
seeds: 2
protocol: {report: test, select: [last, val_fewshot, support_cv]}
methods:
  zero_shot: {}
  logistic_regression: {inputs: [image, image+logits], scale: standard}
  linear_probe: {batch_norm: [false, true], epochs: 3}
  attention_probe: {epochs: 3}
  clip_adapter: {ratio: [0.1, 0.4], epochs: 3, tune: true}
  proker: {}
  gda: {}
"""
TIMES = {"seconds", "fit_seconds", "peak_memory_mb", "provenance"}

pytestmark = pytest.mark.slow


def vectors(path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(8, 24))
    arrays: dict[str, Any] = {"classnames": np.array([f"class {k}" for k in range(8)]), "text_x": centres}
    for split in ("train", "val", "test"):
        labels = np.repeat(np.arange(8), 9)
        arrays[f"{split}_y"] = labels
        arrays[f"{split}_x"] = (centres[labels] + 3 * rng.normal(size=(72, 24))).astype(np.float32)
    np.savez(path, **arrays)


def run(folder: Path, cores: int) -> dict[str, Any]:
    """Every record and every predictions array of the study, by path, without times and versions."""
    folder.mkdir()
    vectors(folder / "made.npz")
    (folder / "study.yaml").write_text(STUDY)
    snakemake = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(ROOT / "Snakefile")]
    command = [*snakemake, "tables", "--cores", str(cores), "--configfile", "study.yaml"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    at = folder / "results" / "twice"
    gains = (at / "tables" / "gains.md").read_text()
    assert "| clip_adapter (ratio tuned) " in gains
    assert "| zero_shot" not in gains
    found: dict[str, Any] = {}
    for path in sorted(at.glob("metrics/**/*.json")):
        found[str(path.relative_to(at))] = without_times(json.loads(path.read_text()))
    for path in sorted(at.glob("predictions/**/*.npz")):
        with np.load(path) as arrays:
            found[str(path.relative_to(at))] = {name: arrays[name].tolist() for name in arrays}
    return found


def without_times(value: Any) -> Any:
    return without(value, TIMES)


def test_twice_and_on_one_core_or_two(tmp_path: Path) -> None:
    """One comparison says both: whatever differs between two runs would differ between these two."""
    first, again = (run(tmp_path / name, cores) for name, cores in (("a", 2), ("b", 1)))
    assert len(first) == 2 * (1 + 6 * 2)
    assert first == again
