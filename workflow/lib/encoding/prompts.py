"""Class names in templates: which texts the model reads, whether it can tell the classes apart, and what stands for
each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.base import unit
from workflow.lib.data.index import Index
from workflow.lib.errors import UserError

log = logging.getLogger(__name__)

Tokenizer = Callable[[list[str]], Any]  # texts to token ids (N, context)
Embed = Callable[[Sequence[str]], NDArray[np.float32]]  # M names to their embeddings in T templates (M, T, D)
_SHOWN = 3


def embed(index: Index, templates: Sequence[str], tokenizer: Tokenizer, of_names: Embed) -> NDArray[np.float32]:
    """The text embeddings of the classes `(K, T, D)`, not normalised; what they are made of stands in the log.

    Of a class with several names those of each template are scaled to unit length and averaged. Raises `UserError` for
    two classes whose prompts are the same to the model.
    """
    names = index.prompt_names()
    check(index.classnames, names, templates, tokenizer)
    texts = prompts(names[0], templates) + [prompts(own, templates)[0] for own in names[1:]]
    log.info(
        "prompts: %d classes, %d templates, as %s", len(names), len(templates), ", ".join(map(repr, texts[:_SHOWN]))
    )
    embeddings = of_names([name for own in names for name in own])
    if all(len(own) == 1 for own in names):
        return embeddings
    log.info("classes with several names, whose embeddings are averaged: %d", sum(len(own) > 1 for own in names))
    ends = np.cumsum([len(own) for own in names])
    parts = np.split(unit(embeddings), ends[:-1])
    return np.stack([part.mean(axis=0) for part in parts]).astype(np.float32)


def prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Each name in each template."""
    return [template.replace("{}", name) for name in names for template in templates]


def check(
    classnames: Sequence[str], names: Sequence[Sequence[str]], templates: Sequence[str], tokenizer: Tokenizer
) -> None:
    """Raise `UserError` for two classes of which the tokenizer makes the same, in every template.

    Most tokenizers know no capitals, and all of them cut a long text.
    """
    seen: dict[object, int] = {}
    for k, own in enumerate(names):
        other = seen.setdefault(_tokens(own, templates[:1], tokenizer), k)
        if other != k and _tokens(own, templates, tokenizer) == _tokens(names[other], templates, tokenizer):
            first, second = (prompts(names[i], templates)[0] for i in (other, k))
            why = "it tells no capitals" if first.lower() == second.lower() else "it reads a text only so far"
            raise UserError(
                f"the classes {classnames[other]!r} and {classnames[k]!r} are the same to the model, {first!r} and "
                f"{second!r}: {why}; give one another name by `classnames` in the dataset's entry"
            )


def _tokens(names: Sequence[str], templates: Sequence[str], tokenizer: Tokenizer) -> object:
    """What the model reads of a class, in no order."""
    return frozenset(np.asarray(tokenizer(prompts([name], templates))).tobytes() for name in names)
