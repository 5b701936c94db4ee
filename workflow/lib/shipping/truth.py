"""Predictions held to labels that are known: which image is of which class, and how right the answers are."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from methods.contract.params import brief, nearest
from workflow.lib.errors import UserError
from workflow.lib.evaluation import calibration, scoring
from workflow.lib.shipping.inputs import below
from workflow.lib.shipping.predicting import Answer

_WORST = 20  # pairs of classes


def read(place: str, classes: Sequence[str]) -> dict[Path, int]:
    """The class of each image: of a folder with a folder for each class, or of a CSV with columns `file` and `label`.

    Raises `UserError` for what is neither, and for a class that the classifier doesn't have.
    """
    path = Path(place)
    if path.is_dir():
        return _of_folder(path, classes)
    if not path.is_file():
        raise UserError(f"--labels: no such folder or file: {place}")
    return _of_csv(path, classes)


def _of_folder(root: Path, classes: Sequence[str]) -> dict[Path, int]:
    folders = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    found = {image: _index(folder.name, classes, str(root)) for folder in folders for image in below(folder)}
    if not found:
        raise UserError(f"--labels: {root} has no folder with images in it; allowed: a folder for each class, or a CSV")
    return found


def _of_csv(path: Path, classes: Sequence[str]) -> dict[Path, int]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"file", "label"} <= set(reader.fieldnames or ()):
                raise UserError(
                    f"--labels: {path}: found columns {brief(','.join(reader.fieldnames or ()))}, wanted: file, label"
                )
            rows = [(row["file"], row["label"] or "") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--labels: {path}: not a CSV in UTF-8 ({error})") from error
    return {_placed(Path(file), path.parent): _index(label, classes, str(path)) for file, label in rows}


def _placed(file: Path, folder: Path) -> Path:
    """A path as it is seen from here, or from where the list lies."""
    return file if file.exists() or file.is_absolute() else folder / file


def _index(label: str, classes: Sequence[str], where: str) -> int:
    if label not in classes:
        known = f"the classifier has {len(classes)} classes: {', '.join(classes[:10])}{', …' * (len(classes) > 10)}"
        raise UserError(f"--labels: {where}: {brief(label)} is no class; {known}{nearest(label, classes)}")
    return list(classes).index(label)


@dataclass
class Record:
    """The answers to images with labels, so far: what is kept of each is its probabilities and its class."""

    labels: Mapping[Path, int]
    classes: Sequence[str]
    probability: list[np.ndarray] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    marks: list[tuple[bool, bool]] = field(default_factory=list)  # unsure, and whether the set holds the class

    def __post_init__(self) -> None:
        self.labels = {path.resolve(): label for path, label in self.labels.items()}

    def add(self, answer: Answer) -> None:
        """Take an answer, if its image could be read and has a label."""
        label = self.labels.get(answer.file.resolve())
        if answer.probability is None or label is None:
            return
        self.probability.append(answer.probability.astype(np.float32))
        self.truth.append(label)
        self.marks.append((bool(answer.unsure), answer.members is None or label in answer.members))

    def report(self, told: Mapping[str, float]) -> list[str]:
        """Lines for a reader: accuracy with its interval, calibration, marks. `told` are the thresholds."""
        if not self.truth:
            return ["No image that could be read has a label: nothing to compare."]
        labels, probability = np.array(self.truth), np.stack(self.probability).astype(np.float64)
        right = probability.argmax(1) == labels
        low, high = wilson(int(right.sum()), len(right))
        quality = calibration.quality(np.log(probability.clip(1e-12)), labels)
        lines = [
            f"images with labels: {len(right)}",
            f"accuracy: {_percent(right.mean())} (95 % interval {_percent(low)} to {_percent(high)})",
            f"mean per class: {_percent(scoring.mean_per_class(right, labels))}",
            f"calibration: ECE {_percent(quality['ece'])}, NLL {quality['nll']:.3f}, Brier {quality['brier']:.3f}",
        ]
        return lines + (self._marks(right, told) if told["images"] else []) + self._confused(labels, probability)

    def _marks(self, right: np.ndarray, told: Mapping[str, float]) -> list[str]:
        unsure, held = np.array(self.marks).T
        answered = int((~unsure).sum())
        wrong = f"{_percent((~right)[~unsure].mean())} of the others are wrong" if answered else "no other is left"
        return [
            f"unsure: {int(unsure.sum())}; {wrong}, {_percent(told['error'])} were allowed",
            f"prediction sets hold the class of {_percent(held.mean())}, {_percent(told['level'])} were asked for",
        ]

    def _confused(self, labels: np.ndarray, probability: np.ndarray) -> list[str]:
        pairs = Counter(
            (int(true), int(said)) for true, said in zip(labels, probability.argmax(1), strict=True) if true != said
        )
        if not pairs:
            return []
        worst = pairs.most_common(_WORST)
        return ["most often confused:", *(f"  {self.classes[t]} for {self.classes[s]}: {n}" for (t, s), n in worst)]

    def confusion(self) -> Iterable[list[str]]:
        """The lines of a CSV: true classes down, answers across, with the number of images."""
        counts = np.zeros((len(self.classes), len(self.classes)), int)
        for true, probability in zip(self.truth, self.probability, strict=True):
            counts[true, int(probability.argmax())] += 1
        yield ["true class", *self.classes]
        for name, row in zip(self.classes, counts, strict=True):
            yield [name, *map(str, row)]


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, JASA 1927)."""
    share = right / count
    centre, spread = share + z * z / (2 * count), z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return (centre - spread) / (1 + z * z / count), (centre + spread) / (1 + z * z / count)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
