"""The variants of a sweep as one row: under each regime the variant that it would choose, seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from workflow.lib.evaluation import cross_validation
from workflow.lib.evaluation.protocol import CROSS_VALIDATION, Outcome

Settings = Mapping[str, Any]  # the parameters that tell a variant from the others


def differing(variants: Sequence[Settings]) -> dict[str, list[Any]]:
    """The parameters that are not the same in all variants, each with its different values in order."""
    values = {name: [variant[name] for variant in variants] for name in variants[0]}
    different = {name: [one for i, one in enumerate(found) if one not in found[:i]] for name, found in values.items()}
    return {name: found for name, found in different.items() if len(found) > 1}


def joined(outcomes: Sequence[tuple[Settings, Outcome]], images: int) -> Outcome:
    """One outcome of one seed's outcomes under several settings. The first is the default, and wins a tie.

    `images` is the size of the support: cross-validation leaves the default for what is better by more than chance. A
    choice has the settings in its point. The curve has every candidate, those of the default at its end, so that its
    last one is the default's, as in every curve.
    """
    whole = Outcome(list(outcomes[0][1].choices))
    for regime in whole.choices:
        scores = [outcome.choices[regime].score for _, outcome in outcomes]
        if regime == CROSS_VALIDATION and scores[0]:
            best = cross_validation.preferred(scores, 0, images)
        else:
            best = max(range(len(scores)), key=scores.__getitem__)
        settings, choice = outcomes[best][0], outcomes[best][1].choices[regime]
        whole.choices[regime] = replace(choice, point={**settings, **choice.point})
    for settings, outcome in [*outcomes[1:], outcomes[0]]:
        whole.points += [{**settings, **point} for point in outcome.points]
        whole.curve += outcome.curve
        whole.fit_seconds += outcome.fit_seconds
        whole.cv_seconds += outcome.cv_seconds
        whole.notes += outcome.notes
    return whole
