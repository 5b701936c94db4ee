"""Answers written as they come: a CSV, a contact sheet with the least sure first, and how right they are."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from workflow.lib.encoding.images import BadImageError, open_rgb
from workflow.lib.shipping.predicting import Answer

COLUMNS = ("file", "label", "probability", "second_label", "margin", "unsure", "outlier", "prediction_set", "problem")
SHOWN = 500  # images on a sheet
_SIDE = 160  # pixels of a thumbnail

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; background: #fff; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(172px, 1fr)); gap: 12px }
figure { margin: 0; padding: 6px; border: 1px solid #ccc; border-radius: 4px }
figure.unsure { border-color: #b35900; background: #fff6ec }
figure.problem { border-color: #a00000; background: #fdeeee }
img { width: 100%; height: 160px; object-fit: contain; background: #f4f4f4 }
figcaption { overflow-wrap: anywhere } small { color: #666 }
"""


class Table:
    """The CSV of predictions, a line for each answer; with a column for each class's probability where `everything`."""

    def __init__(self, file: TextIO, classes: Sequence[str], everything: bool) -> None:
        self._writer, self._classes, self._everything = csv.writer(file, lineterminator="\n"), classes, everything
        self._writer.writerow([*COLUMNS, *([f"p_{name}" for name in classes] if everything else [])])

    def add(self, answer: Answer) -> None:
        """Write the line of an answer."""
        self._writer.writerow([*self._line(answer), *self._each(answer)])

    def _line(self, answer: Answer) -> list[Any]:
        if answer.probability is None:
            return [answer.file, *[""] * 7, answer.problem]
        (best, second), p = answer.order, answer.probability
        members = None if answer.members is None else "|".join(self._classes[k] for k in answer.members)
        marks = [_word(answer.unsure), _word(answer.outlier), members]
        labels = [self._classes[best], f"{p[best]:.6f}", self._classes[second], f"{p[best] - p[second]:.6f}"]
        return [answer.file, *labels, *marks, ""]

    def _each(self, answer: Answer) -> list[str]:
        if not self._everything:
            return []
        return [""] * len(self._classes) if answer.probability is None else [f"{one:.6f}" for one in answer.probability]


def _word(mark: bool | None) -> str:
    return "" if mark is None else str(mark).lower()


class Sheet:
    """A contact sheet as one HTML file: what can't be read first, then the least sure, up to `SHOWN` images."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._seen: list[Answer] = []
        self._count = 0

    def add(self, answer: Answer) -> None:
        """Take an answer; only those that may be shown are kept."""
        self._count += 1
        self._seen.append(answer)
        if len(self._seen) >= 2 * SHOWN:
            self._seen = self._least_sure()

    def _least_sure(self) -> list[Answer]:
        return sorted(self._seen, key=lambda answer: answer.confidence)[:SHOWN]

    def write(self, file: TextIO) -> None:
        """Write it, an image at a time."""
        shown = self._least_sure()
        rest = f", the {len(shown)} least sure of them" if len(shown) < self._count else ""
        file.write('<!doctype html>\n<html lang="en"><meta charset="utf-8">')
        file.write('<meta name="viewport" content="width=device-width"><title>Predictions</title>')
        file.write(f"<style>{_STYLE}</style>\n<h1>{self._count} images{rest}</h1>\n<main>\n")
        for answer in shown:
            file.write(self._figure(answer))
        file.write("</main></html>\n")

    def _figure(self, answer: Answer) -> str:
        name = html.escape(str(answer.file))
        if answer.probability is None:
            return (
                f'<figure class="problem"><figcaption>{html.escape(answer.problem)}<br><small>{name}</small></figure>\n'
            )
        best, second = answer.order
        first, other = (f"{html.escape(self._classes[k])} {100 * answer.probability[k]:.0f} %" for k in (best, second))
        kind = ' class="unsure"' if answer.unsure or answer.outlier else ""
        marks = ", ".join(word for word, on in (("unsure", answer.unsure), ("outlier", answer.outlier)) if on)
        caption = f"<b>{first}</b><br>{other}<br><small>{name}{f'; {marks}' if marks else ''}</small>"
        return f'<figure{kind}><img alt="{name}" src="{_thumbnail(answer.file)}"><figcaption>{caption}</figure>\n'


def _thumbnail(path: Path) -> str:
    """A small JPEG inside a URL; empty where the image has gone meanwhile."""
    try:
        image = open_rgb(path)
    except BadImageError:
        return ""
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
