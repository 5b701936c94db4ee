"""Cross-validation of a whole dataset: every image answered by a classifier that has seen nothing of its fold.

A fold is a bench of its own, with supports from outside the fold and the fold as the reported split, so that a cell
runs there as it does anywhere. What the folds' classifiers say is put together, and the reported split is all images.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from methods.contract.base import Labels
from workflow.lib.errors import UserError
from workflow.lib.evaluation import trust
from workflow.lib.evaluation.protocol import Choice, Outcome
from workflow.lib.features.store import Features


def reported(features: Features, split: str, rows: Labels | None = None) -> Features:
    """The features with all images of train, or these rows of them, as the split that is reported."""
    train = features.splits["train"]
    part = train if rows is None else train.part(rows)
    return replace(features, splits={"train": train, split: part})


def fold_rows(features: Features, count: int) -> list[Labels]:
    """The rows of train in each fold.

    UserError where the features have other folds or none, and where a class has all of its images in one: those that
    can't be read may have been left out.
    """
    if features.folds is None or int(features.folds.max()) >= count:
        raise UserError(f"cross_validate: the features have no {count} folds: delete their file and run again")
    for label, name in enumerate(features.classnames):
        if len(np.unique(features.folds[features.splits["train"].y == label])) == 1:
            raise UserError(f"cross_validate: all images of class '{name}' that could be read are in one fold")
    found = [np.flatnonzero(features.folds == fold) for fold in range(count)]
    return [rows for rows in found if len(rows)]  # of a fold no image may have been readable


def joined(outcomes: Sequence[Outcome], rows: Sequence[Labels], curve: bool) -> Outcome:
    """One outcome of those of the folds, whose images are these `rows`.

    `curve` is whether scores are means over images, so that the curve is that of all images; it is left out too where
    the folds' candidates are not at the same points. A choice keeps what all folds have chosen.
    """
    whole = Outcome(list(outcomes[0].choices))
    for regime in whole.choices:
        choices = [outcome.choices[regime] for outcome in outcomes]
        logits = np.concatenate([choice.final() for choice in choices])
        order = np.argsort(np.concatenate(rows))
        joint = trust.joined([choice.trust for choice in choices], order)
        whole.choices[regime] = Choice(_common(choices), logits[order], trust=joint)
    if curve and all(outcome.points == outcomes[0].points for outcome in outcomes):
        whole.points = outcomes[0].points
        sizes = [len(own) for own in rows]
        # Right answers are whole numbers: the last point is then the accuracy itself, to the last digit.
        right = np.rint(np.transpose([outcome.curve for outcome in outcomes]) * sizes)
        whole.curve = (right.sum(1) / sum(sizes)).tolist()
    whole.fit_seconds = sum(outcome.fit_seconds for outcome in outcomes)
    whole.cv_seconds = sum(outcome.cv_seconds for outcome in outcomes)
    whole.notes = [note for outcome in outcomes for note in outcome.notes]
    return whole


def _common(choices: Sequence[Choice]) -> dict[str, Any]:
    first = choices[0].point
    return {key: value for key, value in first.items() if all(one.point.get(key) == value for one in choices)}
