"""Class names with room for learned contexts before them, as the tower's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workflow.lib.errors import UserError
from workflow.lib.towers.text import Layout, Tower

Tokenizer = Callable[[list[str]], Tensor]  # texts to ids of tokens (N, length)
_WORDS = ["a", "photo", "the"]  # a token of its own each, in every vocabulary: what they begin with alike is a start


class Encoder:
    """A frozen text tower with its tokenizer, for the classes of a dataset: `methods.contract.encoder.TextEncoder`."""

    def __init__(self, tower: Tower, tokenizer: Tokenizer, names: Sequence[str], templates: Sequence[str]) -> None:
        self._tower, self._tokenizer = tower, tokenizer
        self.names, self.templates = tuple(names), tuple(templates)
        self._start = _alike(tokenizer(_WORDS))
        self._device = tower.embedded(torch.zeros(1, dtype=torch.int64)).device

    def prompts(self, texts: Sequence[str], learned: int) -> ContextPrompts:
        """K texts with room for `learned` contexts before each. Raises `UserError` for a text that does not fit."""
        tokens = self._tokenizer(list(texts))
        start, length = len(self._start), self._tower.length
        own = tokens[:, start : max(start, length - learned)]
        ends = torch.tensor([self._end(row) for row in tokens])
        if (long := (ends + learned >= length).nonzero()).numel():
            k = int(long[0])
            raise UserError(
                f"{learned} context vectors and {texts[k]!r}, {int(ends[k]) + 1} tokens, don't fit the text tower, "
                f"which reads {length}: allowed for this text: {max(0, length - 1 - int(ends[k]))} or fewer"
            )
        last = ends - start
        place = self._device
        layout = Layout(self._start.to(place), own.to(place), learned, last.to(place), int(last.max()) + 1)
        return ContextPrompts(self._tower, layout)

    def embedded(self, text: str) -> Tensor:
        """The embeddings `(M, W)` of a text's own tokens."""
        tokens = self._tokenizer([text])[0]
        return self._tower.embedded(tokens[len(self._start) : self._end(tokens)]).clone()

    def _end(self, tokens: Tensor) -> int:
        """Where a text ends: the place of the token that stands for it or, where none does, of the first padding."""
        if self._tower.pool == "argmax":
            return int(tokens.argmax())
        if self._tower.pool == "eos":
            return int((tokens == self._tower.end_id).int().argmax())
        return int((tokens != tokens[-1]).nonzero().max()) + 1 if (tokens != tokens[-1]).any() else 0


def _alike(tokens: Tensor) -> Tensor:
    """The tokens that all rows begin with, `(P,)`."""
    same = (tokens == tokens[0]).all(0)
    return tokens[0, : int(same.int().cumprod(0).sum())]


class ContextPrompts:
    """K texts with room for M contexts, through the frozen tower: `methods.contract.encoder.Prompts`."""

    def __init__(self, tower: Tower, layout: Layout) -> None:
        self._tower, self._layout, self.width = tower, layout, tower.width

    def __call__(self, context: Tensor) -> Tensor:
        """Class texts `(R, K, D)`, not unit, of contexts `(R, M, W)` or `(R, K, M, W)`."""
        if context.shape[-2] != self._layout.learned:
            raise ValueError(f"there is room for {self._layout.learned} context vectors, found {context.shape[-2]}")
        return self._tower(self._layout, context)
