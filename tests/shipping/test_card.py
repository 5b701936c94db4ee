"""The card of a shipped classifier: what it says, and what it says where something is not known."""

from dataclasses import replace
from typing import Any

import pytest

from methods.zero_shot import ZeroShot
from tests.shipping.conftest import made, row
from workflow.lib.features.store import Features
from workflow.lib.shipping import card
from workflow.lib.shipping.classifier import Classifier


@pytest.fixture(scope="module")
def classifier(features: Features) -> Classifier:
    """Zero-shot of the study's features."""
    return made(features, row(ZeroShot), ZeroShot())


def told(classifier: Classifier, **changes: Any) -> str:
    """The card where the classifier has other things to tell of itself."""
    return card.markdown(replace(classifier, about={**classifier.about, **changes}))


@pytest.mark.parametrize(("classes", "listed", "more"), [(2, 2, 0), (20, 20, 0), (21, 20, 1), (45, 20, 25)])
def test_the_first_classes_are_listed_with_their_images_and_the_others_counted(
    classifier: Classifier, classes: int, listed: int, more: int
) -> None:
    trained = {**classifier.about["trained_on"], "per_class": list(range(classes))}
    text = told(classifier, classes=[f"c{k}" for k in range(classes)], trained_on=trained)
    shown = [f"`c{k}` ({k})" for k in range(listed)] + [f"and {more} more"] * (more > 0)
    assert f"labelled images that it has learned from: {', '.join(shown)}.\n" in text
    assert f": {classes} classes\n" in text


@pytest.mark.parametrize(
    ("measured", "line"),
    [
        (("accuracy", 0.9, 0.8, 0.95), "- accuracy: 90.00 % (95 % interval 80.00 % to 95.00 %), on test.\n"),
        (("accuracy", 0.9, None, None), "- accuracy: 90.00 %, on test.\n"),
        (("nll", 1.23456, None, None), "- nll: 1.235, on test.\n"),
    ],
)
def test_what_was_measured_is_told_with_its_interval_where_there_is_one(
    classifier: Classifier, measured: tuple[Any, ...], line: str
) -> None:
    one = dict(zip(("metric", "value", "low", "high"), measured, strict=True))
    assert line in told(classifier, expected=[one | {"from": "on test"}])
    assert "The study has no measurement of this row" in told(classifier, expected=[])


def test_it_says_what_too_few_images_can_t_promise(classifier: Classifier) -> None:
    few = told(classifier, thresholds={**classifier.about["thresholds"], "unsure": None, "set": None, "outlier": None})
    assert "every answer is marked: these images are too few, or too often mistaken" in few
    assert "`prediction_set` holds every class" in few
    assert "`outlier`: the image is of no class, as far as can be told: never." in few
    thresholds = {**classifier.about["thresholds"], "unsure": 0.6, "set": 0.8, "level": 0.9, "outlier": 0.25}
    enough = told(classifier, thresholds=thresholds)
    assert "answers below a probability of 0.600 are marked" in enough
    assert "`prediction_set` should hold the true class for 90 % of images" in enough
    assert "farther from every labelled image than 0.250." in enough


@pytest.mark.parametrize(
    ("config", "spec", "asked"),
    [
        (None, {}, False),
        ({"embed_dim": 4}, {}, True),
        (None, {"weights": "w.pt"}, True),
        ({"embed_dim": 4}, {"weights": "w.pt"}, True),
    ],
)
def test_it_names_the_weights_where_they_are_not_downloaded(
    classifier: Classifier, config: dict[str, int] | None, spec: dict[str, str], asked: bool
) -> None:
    text = told(classifier, backbone={**classifier.about["backbone"], "config": config, "spec": spec})
    assert ("--weights FILE" in text) == asked
