"""A classifier of small pictures, shipped once a run, with the embedded backbone."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from methods.contract.base import Method
from methods.tip_adapter import TipAdapter
from tests.data.pictures import FAULTS, cloths
from workflow.lib.data.index import Index
from workflow.lib.encoding import extraction, shards
from workflow.lib.evaluation.calibrator import Settings
from workflow.lib.features import store
from workflow.lib.features.store import Features
from workflow.lib.shipping import about, fitting, folder
from workflow.lib.shipping.classifier import Classifier
from workflow.lib.shipping.fitting import Row

ROOT = Path(__file__).parents[2]
NANO = ROOT / "workflow" / "assets" / "nano"
SPEC = {"model": str(NANO / "model.json"), "weights": str(NANO / "model.safetensors")}
TRAIN = 10  # of 14 pictures of each fault
EXPECTED = [{"metric": "accuracy", "value": 0.9, "low": 0.8, "high": 0.95, "from": "on test with 5 shots"}]


@dataclass(frozen=True)
class Shipped:
    """What was shipped: the pictures, their features, the classifier, and its folder."""

    photos: Path
    features: Features
    classifier: Classifier
    folder: Path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of cloth, `<fault>/<fault>_<number>.jpg`."""
    return cloths(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def features(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Their features, as the job writes them."""
    splits: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for label, fault in enumerate(FAULTS):
        for number, image in enumerate(sorted((photos / fault).iterdir())):
            splits["train" if number < TRAIN else "test"].append((f"{fault}/{image.name}", label))
    index = Index(FAULTS, photos, splits)
    names = {"dataset": "cloth", "backbone": "nano"}
    part = extraction.extract(index, SPEC, ["a photo of {} cloth."], names, threads=1, device="cpu")
    place = tmp_path_factory.mktemp("features") / "cloth.safetensors"
    store.write(place, shards.gather(index, [part]))
    return store.read(place)


def row(method: type[Method], select: str = "last", **params: object) -> Row:
    """A row of a study with one setting."""
    values = method.defaults(params) | params
    return Row("trial", "cloth", "nano", method.name, method.name, [{"variant": "-", "params": values}], select)


def made(features: Features, what: Row, method: Method, everything: bool = False) -> Classifier:
    """The classifier of a row."""
    settings = Settings()
    fitted = fitting.fit(what, method, fitting.labelled(features, everything), settings, "cpu", 1, lambda line: None)
    return about.classifier(what, fitted, features, settings, everything, EXPECTED, {"code": "0"})


@pytest.fixture(scope="session")
def shipped(photos: Path, features: Features, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """A cache model of the pictures of train, with all that is told of it."""
    classifier = made(features, row(TipAdapter), TipAdapter())
    place = tmp_path_factory.mktemp("shipped")
    folder.write(place, classifier, "head")
    return Shipped(photos, features, classifier, place)


@pytest.fixture
def without_labels(shipped: Shipped) -> Classifier:
    """The classifier as it is where no image could be held out."""
    thresholds = {**shipped.classifier.about["thresholds"], "images": 0, "set": None, "unsure": None}
    return replace(shipped.classifier, about={**shipped.classifier.about, "thresholds": thresholds})
