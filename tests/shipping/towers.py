"""Pictures of cloth with tiny models whose image towers can be trained: their features, and what lies beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from methods.contract.base import Method, Replica, Task
from methods.contract.needs import arrays as beside
from tests.data.pictures import FAULTS
from tests.encoding import tiny
from tests.shipping.conftest import EXPECTED
from workflow.lib.data.index import Index
from workflow.lib.encoding import extraction, shards
from workflow.lib.evaluation import engines
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.evaluation.calibrator import Settings
from workflow.lib.features import arrays, store
from workflow.lib.features.store import Features
from workflow.lib.shipping import about, fitting
from workflow.lib.shipping.classifier import Classifier
from workflow.lib.shipping.fitting import Fitted, Row

TRAIN, TEST = 4, 3  # pictures of each fault
TOWERS: Mapping[str, Mapping[str, Any]] = {
    "vit": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
ARRAYS = ("pixels", "blocks1")


@dataclass(frozen=True)
class Pictures:
    """Where they lie, the backbone's spec, the files of features and arrays, and what these hold together."""

    photos: Path
    spec: Mapping[str, str]
    files: Mapping[str, Path]
    features: Features = field(repr=False)

    def towers(self, needs: frozenset[str]) -> Any:
        return engines.towers(needs, self.spec, self.features.classnames, self.features.metadata, "cpu")


def pictures(photos: Path, kind: str, folder: Path) -> Pictures:
    """As the jobs of a study make them, of a backbone that is made on the spot."""
    spec = tiny.make(folder, vision_cfg=TOWERS[kind], text_cfg=TEXT)
    save_file(lively(tiny.random_model(folder / "tinyclip.json")).state_dict(), spec["weights"])
    splits: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for label, fault in enumerate(FAULTS):
        for number, image in enumerate(sorted((photos / fault).iterdir())[: TRAIN + TEST]):
            splits["train" if number < TRAIN else "test"].append((f"{fault}/{image.name}", label))
    index = Index(FAULTS, photos, splits)
    extract = partial(
        extraction.extract, index, spec, ["a photo of {} cloth."], {"dataset": "cloth", "backbone": "tiny"}, threads=1
    )
    files = {name: folder / f"cloth.{name}.safetensors" for name in ("features", *ARRAYS)}
    store.write(files["features"], shards.gather(index, [extract(device="cpu")]))
    features = store.read(files["features"])
    for name in ARRAYS:
        arrays.write(files[name], shards.gather_array(index, [extract(device="cpu", array=name)]))
        features = arrays.added(features, arrays.read(files[name]), str(files[name]))
    return Pictures(photos, spec, files, features)


def lively(model: Any) -> Any:
    """The model with weights whose embeddings of two pictures, or of two texts, are far from each other."""
    torch.manual_seed(3)
    for parameter in (one for name, one in model.named_parameters() if name != "logit_scale"):
        plain = parameter.dim() < 2
        noise = torch.randn_like(parameter)
        parameter.data = parameter.data + 0.2 * noise if plain else noise * parameter[0].numel() ** -0.5
    for module in model.visual.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # its statistics are those of the next batch
    model.visual.train()(torch.randn(32, 3, 32, 32))
    return model.eval()


def row(method: type[Method], select: str = "last", **params: Any) -> Row:
    values = method.defaults(params) | params
    return Row("trial", "cloth", "tiny", method.name, method.name, [{"variant": "-", "params": values}], select)


def fitted(given: Pictures, what: Row, method: Method, everything: bool = False) -> Fitted:
    towers = given.towers(method.needs(what.variants[0]["params"]))
    learned_from = fitting.labelled(given.features, everything)
    return fitting.fit(what, method, learned_from, Settings(), "cpu", 1, lambda line: None, *towers)


def made(given: Pictures, what: Row, method: Method, everything: bool = False) -> Classifier:
    """The classifier as the job of `ship` makes it, but for its temperature: random towers would be given a high one,
    with which all probabilities are alike.
    """
    found = fitted(given, what, method, everything)
    classifier = about.classifier(what, found, given.features, Settings(), everything, EXPECTED, {"code": "0"})
    return replace(classifier, about={**classifier.about, "temperature": 1.0})


def task(given: Pictures, what: Row, method: Method) -> Task:
    """What the method sees of the pictures of train."""
    params = what.variants[0]["params"]
    cell = Cell("trial", "cloth", "tiny", what.label, what.method, "all", 1, "test", "last", what.variants)
    encoder, model = given.towers(method.needs(params))
    bench = Bench(cell, given.features, "cpu", 1, lambda line: None, encoder=encoder, model=model)
    return bench.task(method.raw(params), method.needs(params), engines.engine(type(method)))


def logits(given: Pictures, what: Row, method: Method, split: str = "test") -> np.ndarray[Any, Any]:
    """Those of the method's own classifier, as a cell of a study scores it, of the pictures of a split."""
    params = what.variants[0]["params"]
    *_, last = method.fit(task(given, what, method), [Replica("-", params, 0)])
    wanted = beside(method.needs(params))
    part = given.features.splits[split]
    x = part.images[wanted[0]][:] if wanted else part.x[:] / np.linalg.norm(part.x[:], axis=1, keepdims=True)
    found = last.logits(x.reshape(len(x), -1))[0]
    return np.array(found) if isinstance(found, np.ndarray) else found.detach().numpy().copy()
