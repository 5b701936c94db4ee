"""What is shipped: which row, fitted on which labels, chosen by what, and what the study has measured of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from methods import Candidate, Classifier, Method, Params, Replica, Task, unit
from methods.linear_probe import LinearProbe
from methods.nearest_mean import NearestMean
from methods.ridge import Ridge
from methods.tip_adapter import TipAdapter
from methods.zero_shot import ZeroShot
from tests.shipping.conftest import made, row
from workflow.lib.errors import UserError
from workflow.lib.evaluation import calibrator, folds
from workflow.lib.evaluation.calibrator import Settings
from workflow.lib.features.store import Features
from workflow.lib.shipping import about, choosing, fitting
from workflow.lib.shipping.fitting import Row, labelled


def test_the_shipped_logits_are_those_of_the_fitted_classifier(features: Features) -> None:
    x = features.splits["test"].x[:]
    classifier = made(features, row(ZeroShot), ZeroShot())
    text = features.class_text()
    assert text is not None
    expected = features.logit_scale * (x / np.linalg.norm(x, axis=1, keepdims=True)) @ text.T
    assert np.abs(classifier.program(x) - expected).max() < 1e-4
    assert classifier.about["trained_on"] == {"splits": ["train"], "images": 30, "per_class": [10, 10, 10]}


def test_everything_is_learned_from_where_that_is_asked_for(features: Features) -> None:
    classifier = made(features, row(TipAdapter), TipAdapter(), everything=True)
    assert classifier.about["trained_on"]["images"] == 42
    assert classifier.about["trained_on"]["splits"] == ["train", "test"]
    assert classifier.about["thresholds"]["images"] == 42


def test_views_are_of_train_alone(features: Features) -> None:
    viewed = replace(features, train_views=np.ones((30, 2, features.splits["train"].x.shape[1]), np.float32))
    with pytest.raises(UserError, match="labels: everything: val and test have no augmented views"):
        labelled(viewed, True)


def test_thresholds_come_from_images_that_were_held_out(features: Features) -> None:
    """On the images that it has learned from a cache model is too sure."""
    classifier = made(features, row(TipAdapter, beta=30.0, alpha=20.0), TipAdapter())
    told = classifier.about["thresholds"]
    train = features.splits["train"]
    own = 1 - classifier.probabilities(train.x[:])[np.arange(30), train.y]
    assert np.quantile(own, 0.9) < told["set"] < 1


def test_the_images_that_calibrate_are_answered_without_their_fold(
    features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by the means of the classes outside its fold."""
    kept: list[Any] = []
    monkeypatch.setattr(fitting, "calibrate", lambda *given: kept.append(given) or calibrator.fit(*given))
    given = labelled(features, everything=False)
    fitted = fitting.fit(row(NearestMean), NearestMean(), given, Settings(), "cpu", 1, lambda line: None)
    ((logits, labels, settings),) = kept
    x, y = unit(fitted.support.x), fitted.support.y
    expected = np.zeros((30, 3))
    for fold in folds.split(0, y):
        rest = np.setdiff1d(np.arange(30), fold.out)
        means = np.stack([unit(x[rest[y[rest] == k]].mean(0)) for k in range(3)])
        expected[fold.out] = features.logit_scale * x[fold.out] @ means.T
    assert np.array_equal(labels, y)
    assert logits == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert settings == Settings()


def test_the_file_has_every_threshold_that_was_found(features: Features) -> None:
    settings = Settings(level=0.8, error=0.2)
    given = labelled(features, everything=False)
    fitted = fitting.fit(row(NearestMean), NearestMean(), given, settings, "cpu", 1, lambda line: None)
    found = fitted.calibrator
    assert found is not None
    assert len(set(found.mondrian.tolist())) > 1
    told = about.thresholds(fitted, settings)
    assert (told["images"], told["level"], told["error"]) == (30, 0.8, 0.2)
    assert (told["set"], told["sets_per_class"], told["unsure"]) == (
        found.marginal[0],
        found.mondrian.tolist(),
        found.unsure if np.isfinite(found.unsure) else None,
    )
    x = unit(features.splits["train"].x[:])
    assert told["outlier"] == pytest.approx(np.sort(1 - np.sort(x @ x.T, axis=1)[:, -2])[29], abs=1e-5)


def test_the_metric_of_the_study_chooses(features: Features, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plain = [], fitting.Bench
    monkeypatch.setattr(fitting, "Bench", lambda cell, *rest, **more: seen.append(cell) or plain(cell, *rest, **more))
    made(features, replace(row(Ridge, "val_full"), metric="macro_f1"), Ridge())
    assert [(cell.metric, cell.select, cell.shots, cell.seeds) for cell in seen] == [
        ("macro_f1", "support_cv", "all", 1)
    ]


def test_where_the_study_chooses_cross_validation_on_the_labels_chooses(features: Features) -> None:
    classifier = made(features, row(Ridge, "val_full", alpha=1e6), Ridge())
    assert classifier.about["method"]["chosen_by"] == "support_cv"
    assert classifier.about["method"]["point"]["alpha"] < 1e3


def test_among_the_variants_of_a_tuned_row_one_is_chosen(features: Features) -> None:
    start = row(LinearProbe, "support_cv", init="text", batch_norm=False, epochs=4)
    params = start.variants[0]["params"]
    both = [{"variant": f"lr={lr}", "params": {**params, "lr": lr}} for lr in (1e-9, 0.5)]
    classifier = made(features, replace(start, variants=both), LinearProbe())
    assert classifier.about["method"]["params"]["lr"] == 0.5
    assert set(classifier.about["method"]["point"]) == {"epoch"}


class Peaks(Method):
    """Three candidates: class means at the epoch `best`, of so many `classes`; the others are turned round."""

    name = "peaks"

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            support = task.supports[replica.seed]
            means = support.one_hot(task.classes).T @ support.x
            means[replica.params["classes"] :] = 0
            for epoch in (1, 2, 3):
                weights = means if epoch == replica.params["best"] else -means
                yield Candidate.of(replica, lambda queries, w=weights: queries @ w.T, {"epoch": epoch})


def test_the_variant_that_is_chosen_is_shipped_at_its_own_point(features: Features) -> None:
    both = [{"variant": f"best={best}", "params": {"best": best, "classes": best}} for best in (2, 3)]
    classifier = made(features, replace(row(Peaks, "support_cv"), variants=both), Peaks())
    told = classifier.about["method"]
    assert (told["params"], told["point"]) == ({"best": 3, "classes": 3}, {"epoch": 3})
    train, x = features.splits["train"], features.splits["test"].x[:]
    means = np.stack([unit(train.x[:])[train.y == k].sum(0) for k in range(3)])
    assert classifier.program(x) == pytest.approx(unit(x) @ means.T, rel=1e-3)


class Curved(Method):
    """No matrix, and nothing said of it."""

    name = "curved"

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        means = task.supports[replica.seed].one_hot(task.classes).T @ task.supports[replica.seed].x
        return lambda queries: (queries @ means.T) ** 3


class OfRawImages(Method):
    """A matrix on images at their own length."""

    name = "of_raw_images"

    def raw(self, params: Params) -> bool:
        return True

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        means = task.supports[replica.seed].one_hot(task.classes).T @ task.supports[replica.seed].x
        return lambda queries: queries @ means.T


def test_a_method_of_raw_images_is_shipped_for_raw_images(features: Features) -> None:
    classifier = made(features, row(OfRawImages), OfRawImages())
    train, x = features.splits["train"], features.splits["test"].x[:]
    expected = x @ np.stack([train.x[:][train.y == k].sum(0) for k in range(3)]).T
    assert classifier.program(x) == pytest.approx(expected, rel=1e-3)


def test_the_distance_of_an_image_is_one_less_its_largest_cosine(features: Features) -> None:
    classifier = made(features, row(ZeroShot), ZeroShot())
    cosines = unit(features.splits["test"].x[:]) @ unit(features.splits["train"].x[:]).T
    assert classifier.distances(features.splits["test"].x[:]) == pytest.approx(1 - cosines.max(1), abs=1e-5)


def test_a_method_that_can_t_be_shipped_is_one_line(features: Features) -> None:
    with pytest.raises(UserError, match="ship: curved can't be shipped: its classifier is not linear"):
        made(features, row(Curved), Curved())


def test_features_from_elsewhere_have_no_model_for_new_images(features: Features) -> None:
    elsewhere = replace(features, metadata={**features.metadata, "spec": {"features": "x.npz"}})
    with pytest.raises(UserError, match="no model is known that new images could go through"):
        made(elsewhere, row(ZeroShot), ZeroShot())


def test_what_features_lack_is_said_before_a_fit(features: Features) -> None:
    with pytest.raises(UserError, match="ship: zero_shot: needs text, which these features don't have"):
        made(replace(features, text=None), row(ZeroShot), ZeroShot())


SWEEP = [{"variant": f"alpha={alpha}", "params": {"alpha": float(alpha)}} for alpha in (1, 2)]
ROWS: dict[str, Any] = {
    "gda": {"method": "gda", "learns": True, "tuned": "", "rows": ["alpha=1", "alpha=2"], "variants": SWEEP},
    "tuned": {"method": "gda", "learns": True, "tuned": "alpha tuned", "rows": ["alpha tuned"], "variants": SWEEP},
    "zero_shot": {
        "method": "zero_shot",
        "learns": False,
        "tuned": "",
        "rows": ["-"],
        "variants": [{"variant": "-", "params": {}}],
    },
}
ASKED: dict[str, Any] = {
    "study": "trial",
    "dataset": "cloth",
    "backbone": "nano",
    "select": "last",
    "report": "test",
    "metric": "accuracy",
    "method": "",
    "variant": "",
    "shots": "",
    "most": "all",
    "methods": ROWS,
}
ADVICE = """dataset,backbone,shots,select,method,variant,params,metric,value,low,high,level_with,sure
cloth,nano,1,last,zero_shot,-,{},accuracy,0.5,0.4,0.6,,0.9
cloth,nano,all,last,gda,alpha=2,"{""alpha"": 2.0}",accuracy,0.8,0.7,0.9,,0.9
other,nano,all,last,zero_shot,-,{},accuracy,0.5,0.4,0.6,,0.9
"""
VALUES = """study,dataset,backbone,method,variant,shots,seed,metric,value
trial,cloth,nano,gda,alpha=2,all,0,accuracy,0.81
trial,cloth,nano,gda,alpha=2,all,1,accuracy,0.83
trial,cloth,nano,gda,alpha=2,all,0,coverage,0.9
trial,cloth,nano,gda,alpha=2,1,0,accuracy,0.4
trial,cloth,nano,zero_shot,-,0,0,accuracy,0.5
"""


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "recommendation.csv").write_text(ADVICE)
    (tmp_path / "results.csv").write_text(VALUES)
    (tmp_path / "cloth.nano.intervals.csv").write_text("method,1 shot,all\nzero_shot,40.00 to 60.00,40.00 to 60.00\n")
    return tmp_path


def test_the_recommended_row_with_the_most_labels_is_shipped(tables: Path) -> None:
    found = choosing.row(ASKED, tables)
    assert found.row == Row("trial", "cloth", "nano", "gda", "gda", [SWEEP[1]], "last")
    first, second = found.expected
    assert (first["metric"], first["value"], first["low"], first["high"]) == ("accuracy", 0.8, 0.7, 0.9)
    assert first["from"] == "on test with all labelled images of each class, mean of 2 seeds"
    assert (second["metric"], second["value"], second["low"]) == ("coverage", 0.9, None)


def test_a_row_that_is_named_is_shipped(tables: Path) -> None:
    found = choosing.row({**ASKED, "method": "zero_shot", "variant": "-"}, tables)
    assert found.row.method == "zero_shot"
    (only,) = found.expected
    assert (only["value"], only["low"], only["high"]) == (0.5, 0.4, 0.6)
    assert only["from"] == "on test with no labelled image"


def test_a_row_that_is_named_with_its_shots_is_told_as_measured_with_these(tables: Path) -> None:
    found = choosing.row({**ASKED, "method": "gda", "variant": "alpha=2", "shots": "1"}, tables)
    (only,) = found.expected
    assert (only["value"], only["low"], only["high"]) == (0.4, None, None)
    assert only["from"] == "on test with 1 labelled images of each class"


def test_all_variants_of_a_tuned_row_go_with_it(tables: Path) -> None:
    found = choosing.row({**ASKED, "method": "tuned", "variant": "alpha tuned"}, tables)
    assert len(found.row.variants) == 2
    assert found.expected == []


def test_tables_that_recommend_nothing_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recommends nothing for cloth, nano; name a row: `ship: \{method: …\}`"):
        choosing.row(ASKED, tmp_path)


def test_a_recommendation_of_another_study_file_is_one_line(tables: Path) -> None:
    with pytest.raises(UserError, match=r"the study has no row gda \(alpha=2\); run it again"):
        choosing.row({**ASKED, "methods": {"zero_shot": ROWS["zero_shot"]}}, tables)


def test_of_many_images_a_part_is_kept_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MOST_NEIGHBOURS", 5)
    assert fitting._few(np.ones((9, 3), np.float32)).shape == (5, 3)
