"""Confusions and suspected labels as files: for people in Markdown, every image in CSV."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from workflow.lib.evaluation.label_errors import Suspects
from workflow.lib.reporting.confusions import Confusion, named
from workflow.lib.reporting.rendering import in_markdown

CONFUSIONS = ("true", "predicted", "answers", "of_class", "of_errors", "image", "seeds")
LABEL_ERRORS = ("image", "label", "looks_like", "p_label", "p_looks_like")
SHOWN = 20  # pairs, in Markdown
NAMED = 5  # images of a pair, in Markdown
SUSPECTS_SHOWN = 50
NOTHING, NOT_RUN = "No image is confused.", "No row could be run."


@dataclass(frozen=True)
class Subject:
    """`digits, nano`; the row in words, empty where none was run; its number of seeds; the names of the images."""

    title: str
    row: str
    seeds: int
    files: Sequence[str] | None


def confusions_md(subject: Subject, found: Sequence[Confusion]) -> str:
    """The first pairs with their counts and a few images of each."""
    columns = ("true", "predicted", "answers", "of the class", "of all errors", "images")
    body = tabulate(_pairs(subject, found[:SHOWN]), columns, "pipe", disable_numparse=True)
    seeds = f"{subject.seeds} seed{'s' * (subject.seeds > 1)}"
    note = (
        f"Of {subject.row}: wrong answers with {seeds}, the most frequent pairs first. An image counts once for each "
        "seed that confuses it. All images are in the CSV file beside this one."
    )
    text = f"{body}\n\n{in_markdown(note)}" if found else NOTHING if subject.row else NOT_RUN
    return f"## {in_markdown(subject.title)}: confusions\n\n{text}\n"


def _pairs(subject: Subject, found: Sequence[Confusion]) -> Iterator[list[str]]:
    for one in found:
        images = ", ".join(named(subject.files, one.images[:NAMED]))
        more = f" and {len(one.images) - NAMED} more" if len(one.images) > NAMED else ""
        shares = f"{100 * one.of_class:.1f} %", f"{100 * one.of_errors:.1f} %"
        names = in_markdown(one.truth), in_markdown(one.said)
        yield [*names, str(one.answers), *shares, in_markdown(images + more)]


def confusions_csv(subject: Subject, found: Sequence[Confusion]) -> str:
    """A line for each pair and image, with the number of seeds that confuse it; shares are fractions."""
    return _csv(CONFUSIONS, _answers(subject, found))


def _answers(subject: Subject, found: Sequence[Confusion]) -> Iterator[list[Any]]:
    for one in found:
        pair = [one.truth, one.said, one.answers, f"{one.of_class:.6g}", f"{one.of_errors:.6g}"]
        for image, times in zip(named(subject.files, one.images), one.times.tolist(), strict=True):
            yield [*pair, image, times]


def label_errors_md(title: str, found: Suspects, images: Sequence[str], classnames: Sequence[str]) -> str:
    """The first suspected labels, and how far they are to be trusted. `images` are the names of the suspected ones."""
    columns = ("image", "label", "looks like", "p of the label", "p of that")
    rows = [[in_markdown(str(cell)) for cell in line] for line in _suspects(found, images, classnames)]
    body = tabulate(rows[:SUSPECTS_SHOWN], columns, "pipe", disable_numparse=True) if rows else ""
    said = "\n\n".join(filter(None, [in_markdown(" ".join(_said(found, classnames))), body]))
    return f"## {in_markdown(title)}: labels to look at\n\n{said}\n"


def _said(found: Suspects, classnames: Sequence[str]) -> Iterator[str]:
    if found.images:
        count = len(found.places)
        yield (
            f"Of {found.images} labelled images {count} {'is' if count == 1 else 'are'} contradicted with confidence "
            f"by a classifier that has not seen {'it' if count == 1 else 'them'} and is right for "
            f"{100 * found.accuracy:.1f} % of the images: wrong labels, or its own mistakes."
        )
        if count > SUSPECTS_SHOWN:
            yield f"The first {SUSPECTS_SHOWN} are listed, all of them in the CSV file beside this one."
    else:
        yield "Not done: it wants two classes with two labelled images each."
    if alone := [classnames[label] for label in found.alone.tolist()]:
        more = f" and {len(alone) - NAMED} more" if len(alone) > NAMED else ""
        yield f"Left out, as they have one labelled image: {', '.join(map(repr, alone[:NAMED]))}{more}."


def label_errors_csv(found: Suspects, images: Sequence[str], classnames: Sequence[str]) -> str:
    """A line for each suspected label, the worst first."""
    return _csv(LABEL_ERRORS, _suspects(found, images, classnames))


def _suspects(found: Suspects, images: Sequence[str], classnames: Sequence[str]) -> Iterator[list[str]]:
    columns = (images, found.labels.tolist(), found.confident.tolist(), found.own.tolist(), found.other.tolist())
    for image, label, like, own, other in zip(*columns, strict=True):
        yield [image, classnames[label], classnames[like], f"{own:.3f}", f"{other:.3f}"]


def _csv(header: Sequence[str], lines: Iterator[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
