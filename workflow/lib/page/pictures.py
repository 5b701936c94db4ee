"""The images behind the answers: their names, and small pictures of some of them, bounded in number."""

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow.lib.data.index import read_index
from workflow.lib.errors import UserError
from workflow.lib.features import store
from workflow.lib.page import answers
from workflow.lib.page.layout import Layout, Source
from workflow.lib.reporting.saved import Saved

SIDE, QUALITY = 64, 72  # pixels, and of the JPEG
WRONG, DIVIDING, EXAMPLES = (
    90,
    60,
    60,
)  # pictures of a place: of confused pairs, of images that divide the rows, of support
PAIRS = 20  # of confused classes, over all rows
_NAMES = 400_000  # characters of all names of a place: beyond it images have numbers


def of(layout: Layout, data: Path | None) -> list[dict[str, Any]]:
    """For each place the names of its images; and pictures, where `data` is the folder with the datasets' indices.

    A study that wants no pictures gets none, and neither do those beside it.
    """
    wanted = data if all(source.results.plan.thumbnails for source in layout.sources) else None
    return [_of_place(layout, pair, wanted and wanted / pair[0] / "index.json") for pair in layout.pairs]


def _of_place(layout: Layout, pair: tuple[str, str], index: Path | None) -> dict[str, Any]:
    cells = [s for source in layout.sources for s in _cells(source, pair)]
    if not cells:
        return {}
    first, features = cells[0], _features(layout, pair)
    made: dict[str, Any] = {
        "classnames": list(first.classnames),
        "labels": answers.packed(first.labels, len(first.classnames)),
    }
    split, files = _files(first, features, layout.sources[0].results.plan.report)
    if files and sum(map(len, files)) <= _NAMES:
        made["files"] = files
    if files and index is not None:
        with suppress(UserError, OSError):  # pictures are an aside: without them the page is still whole
            root = _root(index, features)
            made["pictures"] = _pictures(root, {i: files[i] for i in chosen(cells)})
            made["examples"] = _examples(root, features, cells, split)
    return made


def _features(layout: Layout, pair: tuple[str, str]) -> Path:
    """The file of features of a place, as its records name it."""
    records = (r for source in layout.sources for key, r in source.results.records.items() if key[:2] == pair)
    return Path(next(records)["provenance"]["features"])


def _root(index: Path, features: Path) -> Path:
    """The folder of the images. Raises UserError where the index is no longer that of the features."""
    found = read_index(index)
    if store.read(features).metadata.get("index") != found.fingerprint():
        raise UserError(f"{index}: not the list of images that {features} was made from")
    return found.root


def _cells(source: Source, pair: tuple[str, str]) -> list[Saved]:
    return [saved for key, saved in source.predictions.items() if key[:2] == pair]


def _files(saved: Saved, features: Path, report: str) -> tuple[str, Sequence[str]]:
    """The split of the features whose labels are those of the predictions, and the names of its images.

    The reported one; where a dataset is cross-validated it is another, that of all images.
    """
    if not features.is_file():
        return "", []
    with suppress(UserError):
        found = store.read(features)
        for split in sorted(found.splits, key=lambda name: name != report):
            if np.array_equal(found.splits[split].y, saved.labels) and split in found.files:
                return split, found.files[split]
    return "", []


def chosen(cells: Sequence[Saved]) -> list[int]:
    """The numbers of the images that are worth a picture: those of confused pairs, and those that divide the rows."""
    labels = cells[0].labels
    guesses = np.concatenate([guess for cell in cells for guess in cell.predicted.values()])
    share = (guesses == labels).mean(0)
    pairs = answers.confused(guesses, labels, len(cells[0].classnames))[:PAIRS]
    wrong = [i for true, said, _ in pairs for i in _examples_of(guesses, labels, true, said)]
    dividing = np.argsort(np.abs(share - 0.5), kind="stable")[:DIVIDING].tolist()
    return sorted({*wrong[:WRONG], *dividing})


def _examples_of(guesses: NDArray[np.int64], labels: NDArray[np.int64], true: int, said: int) -> list[int]:
    """Up to five images of a class that are most often taken for another."""
    times = (guesses == said).sum(0) * (labels == true)
    return [int(i) for i in np.argsort(-times, kind="stable")[: WRONG // PAIRS + 1] if times[i]]


def _examples(root: Path, features: Path, cells: Sequence[Saved], split: str) -> dict[str, list[str]]:
    """A picture or two from train of each class in a confused pair, by the number of the class."""
    labels = cells[0].labels
    guesses = np.concatenate([guess for cell in cells for guess in cell.predicted.values()])
    pairs = answers.confused(guesses, labels, len(cells[0].classnames))[:PAIRS]
    classes = list(dict.fromkeys(k for true, said, _ in pairs for k in (true, said)))[: EXAMPLES // 2]
    found = store.read(features)
    if split == "train" or "train" not in found.files:
        return {}
    files, rows = found.files["train"], found.splits["train"].y
    return {
        str(k): list(_pictures(root, {int(i): files[i] for i in np.flatnonzero(rows == k)[:2]}).values())
        for k in classes
    }


def _pictures(root: Path, files: Mapping[int, str]) -> dict[str, str]:
    """Small JPEGs as data addresses, by the number of the image; what can't be read is left out."""
    found = {}
    for number, name in files.items():
        with suppress(OSError, ValueError):
            found[str(number)] = _picture(root / name)
    return found


def _picture(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE))
        target = io.BytesIO()
        small.save(target, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(target.getvalue()).decode()}"
