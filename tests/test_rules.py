"""What the job of a cell is given: every key of the study that its result depends on, and every file that it reads."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import starts
from tests.data.pictures import cloths
from tests.studies import ROOT
from workflow.lib.evaluation.bench import Cell

NANO = ROOT / "workflow" / "assets" / "nano"
STUDY = f"""
study: trial
datasets:
  given:
    {{source: folder, path: cloth, split: {{test: 0.5}}, supports: "splits/{{shots}}_{{seed}}.json", allow_fewer: true}}
  folded: {{source: folder, path: cloth, cross_validate: 3, allow_fewer: true}}
backbones: {{mine: {{model: "{NANO}/model.json", weights: "{NANO}/model.safetensors"}}}}
shots: [1, 2, all]
seeds: 2
metric: macro_f1
protocol: {{report: test, select: [last, support_cv], peeking_gap: true}}
calibrate: {{held_out: support_cv, level: 0.8}}
methods:
  zero_shot: {{}}
  ridge: {{alpha: [0.5, 1.0], tune: true}}
"""


def dry_run(folder: Path) -> subprocess.CompletedProcess[str]:
    place = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", "study.yaml"]
    return starts.snakemake([*place, "--cores", "1", "-n", "--printshellcmds"], folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study without a file of supports."""
    made = tmp_path_factory.mktemp("rules")
    (made / "study.yaml").write_text(STUDY)
    cloths(made / "cloth", each=4)
    return made


@pytest.fixture(scope="module")
def commands(folder: Path) -> list[str]:
    """What Snakemake would run."""
    (folder / "splits").mkdir()
    for shots in (1, 2):
        for seed in (0, 1):
            (folder / "splits" / f"{shots}_{seed}.json").write_text("{}")
    done = dry_run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"python -m workflow.*", done.stdout + done.stderr)


def test_a_cell_waits_for_the_files_of_supports_that_it_reads(folder: Path) -> None:
    """So that an edited one runs again the cells that read it. This test comes first: there are none yet."""
    done = dry_run(folder)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "Missing input files for rule evaluate" in said
    found = sorted(set(re.findall(r"splits/\d_\d\.json", said)))
    assert found in [[f"splits/{shots}_{seed}.json" for seed in (0, 1)] for shots in (1, 2)]


def spec(commands: list[str], dataset: str, method: str, shots: str) -> dict[str, Any]:
    """What one cell's job is told."""
    told = [json.loads(found) for line in commands for found in re.findall(r"--spec '(\{.*?\})' --features", line)]
    (own,) = [one for one in told if (one["dataset"], one["label"], one["shots"]) == (dataset, method, shots)]
    return own


def test_a_cell_has_every_key_that_its_result_depends_on(commands: list[str]) -> None:
    given = spec(commands, "given", "ridge", "2")
    made_of = given.pop("made_of")
    assert given == {
        "study": "trial",
        "dataset": "given",
        "backbone": "mine",
        "label": "ridge",
        "method": "ridge",
        "shots": "2",
        "seeds": 2,
        "report": "test",
        "select": "last",
        "also": ["support_cv"],
        "curve": 0,  # where a regime chooses every point is scored
        "metric": "macro_f1",
        "calibrate": {"held_out": "support_cv", "level": 0.8},
        "supports": "splits/{shots}_{seed}.json",
        "allow_fewer": True,
        "folds": 0,
        "variants": [{"variant": f"alpha={alpha}", "params": {"alpha": float(alpha)}} for alpha in ("0.5", "1")],
        "tuned": "alpha tuned",
    }
    assert made_of["backbone"]["model"] == f"{NANO}/model.json"
    assert set(given) | {"made_of"} == set(Cell.__dataclass_fields__)
    other = spec(commands, "folded", "zero_shot", "0")
    assert (other["folds"], other["supports"], other["allow_fewer"]) == (3, "", True)
    assert (other["seeds"], other["tuned"], other["variants"]) == (1, "", [{"variant": "-", "params": {}}])


def test_the_tables_have_every_key_of_the_study_that_they_show(commands: list[str]) -> None:
    (found,) = [plan for line in commands for plan in re.findall(r"scripts.tables --plan '(\{.*?\})' --folder", line)]
    assert json.loads(found) == {
        "study": "trial",
        "datasets": ["given", "folded"],
        "backbones": ["mine"],
        "shots": ["1", "2", "all"],
        "seeds": 2,
        "report": "test",
        "select": "last",
        "also": ["support_cv"],
        "metric": "macro_f1",
        "peeking_gap": True,
        "curve": 0,  # where a regime chooses every point is scored
        "references": {},
        "folds": {"folded": 3},
        "thumbnails": True,
        "calibrates": True,
        "methods": [
            {"label": "zero_shot", "variants": ["-"], "learns": False},
            {"label": "ridge", "variants": ["alpha tuned"], "learns": True},
        ],
    }
