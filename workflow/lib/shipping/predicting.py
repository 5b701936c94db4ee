"""New images through a shipped classifier: from files to labels, batch by batch, in bounded memory."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from methods.contract.program import Numbers
from workflow.lib import files
from workflow.lib.encoding import backbones, changed_tower, extraction
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.images import Reader
from workflow.lib.errors import UserError
from workflow.lib.jobs.progress import bar
from workflow.lib.shipping.classifier import REMEDY, Classifier

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What is said of one image: its probabilities `(K,)` and its marks; or the `problem` for which nothing is.

    `unsure` and `members`, the classes of its prediction set, are None where the classifier doesn't know thresholds.
    """

    file: Path
    probability: Numbers | None = None
    unsure: bool | None = None
    outlier: bool | None = None
    members: Sequence[int] | None = None
    problem: str = ""

    @property
    def order(self) -> tuple[int, int]:
        """The likeliest class and the one after it."""
        assert self.probability is not None
        first, second = np.argsort(-self.probability, kind="stable")[:2]
        return int(first), int(second)

    @property
    def confidence(self) -> float:
        """The probability of its label; below every other one where there is none."""
        return -1.0 if self.probability is None else float(self.probability.max())


@contextmanager
def spec_of(classifier: Classifier, weights: str = "") -> Iterator[dict[str, Any]]:
    """The backbone as a study names it. A model's config is in a file for as long as the block lasts.

    `weights` is where they lie here. Raises `UserError` where there is no such file, or it is not the file that the
    classifier was made with.
    """
    told = classifier.about["backbone"]
    spec = dict(told["spec"])
    place = weights or spec.get("weights", "")
    if place and not Path(place).is_file():
        raise UserError(f"--weights: no file {place}; wanted are the weights of {told['model']}, {told['weights']}")
    if place and (found := files.sha256(place)) != told["fingerprint"]:
        raise UserError(
            f"--weights: {place} (SHA-256 {found[:12]}…) is not the file that the classifier was made with, "
            f"{told['weights']} ({told['fingerprint'][:12]}…)"
        )
    if place:
        spec["weights"] = place
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        if told["config"]:
            config = Path(folder) / f"{told['model']}.json"
            config.write_text(json.dumps(told["config"]), encoding="utf-8")
            spec["model"] = str(config)
        yield spec


def load(classifier: Classifier, weights: str, device: str) -> Backbone:
    """The backbone that the classifier was made with, its image tower changed as the classifier says.

    Such a tower was trained in float32, and runs so. Raises `UserError` where the backbone can't be loaded, is another
    one, takes images in another way, or lacks what is to be changed.
    """
    told, changes = classifier.about["backbone"], classifier.program.tower
    with spec_of(classifier, weights) as spec:
        backbone = backbones.load(spec, device, precision="fp32" if changes else None)
    if backbone.fingerprint != told["fingerprint"]:
        raise UserError(f"{told['model']}: its weights are not those that the classifier was made with")
    if json.loads(backbone.preprocessing) != classifier.about["preprocessing"]:
        raise UserError(f"{told['model']}: its images are prepared in another way than when the classifier was made")
    try:
        changed_tower.put(backbone.visual, changes)
    except ValueError as error:
        raise UserError(f"{classifier.where}: tower: {error}; {REMEDY}") from error
    return backbone


def answers(
    classifier: Classifier,
    backbone: Backbone,
    paths: Sequence[Path],
    threads: int,
    batch_size: int = 0,
    per_class: bool = False,
) -> Iterator[Answer]:
    """What is said of each image, in their order, with a progress line. One that can't be read has its problem.

    `per_class` is whether prediction sets hold their level in every class, and not on average.
    """
    size = batch_size or extraction.DEFAULT_BATCH_SIZE[backbone.device.type]
    reader = Reader(skip=True)
    done = 0
    with bar(len(paths), "images") as progress:
        for x in extraction.embedded(backbone, paths, size, threads, reader):
            batch = paths[done : done + len(x)]
            yield from _answers(classifier, x.numpy(), batch, reader.left_out, per_class)
            done += len(x)
            progress.update(len(x))


def _answers(
    classifier: Classifier, x: Numbers, paths: Sequence[Path], left_out: Mapping[Path, str], per_class: bool
) -> Iterator[Answer]:
    told = classifier.about["thresholds"]
    probability = classifier.probabilities(x)
    known = told["images"] > 0
    limits = limit(told["sets_per_class"] if per_class else told["set"])
    inside = 1 - probability <= limits
    sure = probability.max(1) >= limit(told["unsure"])
    far = classifier.distances(x) > limit(told["outlier"])
    for i, path in enumerate(paths):
        if path in left_out:
            yield Answer(path, problem=left_out[path])
            continue
        members = np.flatnonzero(inside[i]).tolist() if known else None
        yield Answer(path, probability[i], bool(not sure[i]) if known else None, bool(far[i]), members)


def limit(value: Any) -> Numbers:
    """A threshold, or one for each class, as the file has it: null stands for infinity."""
    values = value if isinstance(value, list) else [value]
    return np.array([np.inf if one is None else one for one in values], np.float64)
