"""Thirty-three pictures that nobody can spare for a test: a study with `cross_validate` and none with a split."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.data.pictures import cloths
from tests.encoding import tiny
from tests.studies import planned, run
from workflow.lib.features import store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    cloths(folder / "cloth", each=11)
    tiny.make(folder)
    study = {
        "study": "spare",
        "datasets": {"cloth": {"source": "folder", "path": "cloth", "cross_validate": 5, "shards": 2}},
        "backbones": {"tiny": {"model": "tinyclip.json", "weights": "tinyclip.safetensors"}},
        "shots": [2, "all"],
        "seeds": 2,
        "protocol": {"report": "test", "select": ["last", "support_cv"]},
        "calibrate": {"held_out": "support_cv"},
        "methods": {"zero_shot": None, "nearest_mean": None, "logistic_regression": None},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    run(folder, "tables", "figures", snakefile=snakefile)
    return folder


def test_every_image_is_answered_and_the_table_says_how(finished: Path) -> None:
    features = store.read(finished / "features/tiny/cloth.safetensors")
    assert features.folds is not None
    assert sorted(np.bincount(features.folds)) == [6, 6, 7, 7, 7]
    cells = finished / "results/spare/predictions/cloth/tiny"
    found = np.load(cells / "nearest_mean/2.npz")
    assert found["predicted"].shape == (1, 2, 33)
    assert found["labels"].tolist() == features.splits["train"].y.tolist()
    table = (finished / "results/spare/tables/cloth.tiny.md").read_text()
    assert "Top-1 accuracy in percent on all images" in table
    assert "5-fold cross-validation: every image is answered by a classifier that has not seen it" in table
    assert "is in train too" not in table
    assert "Shares of classes differ" not in table


def test_every_number_is_that_of_the_answers(finished: Path) -> None:
    with (finished / "results/spare/tables/results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "accuracy" and row["method"] != "zero_shot"]
    assert len(rows) >= 8
    checked = 0
    for row in rows:
        path = finished / "results/spare/predictions/cloth/tiny" / row["method"] / f"{row['shots']}.npz"
        saved = np.load(path)
        hits = saved["predicted"][0, int(row["seed"])] == saved["labels"]
        assert float(row["value"]) == pytest.approx(hits.mean(), abs=1e-6)
        checked += 1
    assert checked == len(rows)
    record = json.loads((finished / "results/spare/metrics/cloth/tiny/logistic_regression/2.json").read_text())
    assert (record["queries"], record["support"]) == (33, 6)


def test_every_fold_is_calibrated_on_its_own_support(finished: Path) -> None:
    """Under `last`, which chooses nothing; and the answers have the names of their images."""
    saved = np.load(finished / "results/spare/predictions/cloth/tiny/nearest_mean/2.npz")
    assert len(saved["files"]) == 33
    seeds, folds = saved["held_out_of"][:, 1], saved["held_out_of"][:, 2]
    assert np.bincount(10 * seeds + folds).tolist() == [6] * 5 + [0] * 5 + [6] * 5
    table = (finished / "results/spare/tables/cloth.tiny.calibration.md").read_text()
    assert "not calibrated: nothing is fitted to a support" in table
    assert "is fitted to the support out of its folds" in table
    assert (finished / "results/spare/figures/cloth.tiny.calibration.svg").exists()


def test_other_folds_run_again_what_depends_on_them(finished: Path, snakefile: Path) -> None:
    assert planned(finished, snakefile, "tables", "figures") == set()
    study = finished / "study.yaml"
    before = study.read_text()
    study.write_text(before.replace("cross_validate: 5", "cross_validate: 3"))
    jobs = planned(finished, snakefile, "tables")
    study.write_text(before)
    assert "dataset cloth: preparing images" in jobs
