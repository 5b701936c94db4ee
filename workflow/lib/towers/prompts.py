"""Class names with room for learned contexts before them, as the tower's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workflow.lib.errors import UserError
from workflow.lib.towers.adaptable import AdaptableTexts
from workflow.lib.towers.text import Layout, Tower

Tokenizer = Callable[[list[str]], Tensor]  # texts to ids of tokens (N, length)
_WORDS = ["a", "photo", "the"]  # a token of its own each, in every vocabulary: what they begin with alike is a start


class Encoder:
    """A frozen text tower with its tokenizer, for the classes of a dataset: `methods.contract.encoder.TextEncoder`."""

    def __init__(self, tower: Tower, tokenizer: Tokenizer, names: Sequence[str], templates: Sequence[str]) -> None:
        self._tower, self._tokenizer = tower, tokenizer
        self.names, self.templates = tuple(names), tuple(templates)
        self.adapts = tower.usual
        self._start = _alike(tokenizer(_WORDS))
        self._device = tower.embedded(torch.zeros(1, dtype=torch.int64)).device

    def prompts(self, texts: Sequence[str], learned: int) -> ContextPrompts:
        """K texts with room for `learned` contexts before each. Raises `UserError` for a text that does not fit."""
        return ContextPrompts(self._tower, self.layout(texts, learned))

    def layout(self, texts: Sequence[str], learned: int = 0) -> Layout:
        """How the tokens of these texts are laid out, likewise."""
        tokens, ends = self._tokens(texts)
        if (long := (ends + learned >= self._tower.length).nonzero()).numel():
            k = int(long[0])
            raise UserError(
                f"{learned} context vectors and {texts[k]!r}, {int(ends[k]) + 1} tokens, don't fit the text tower, "
                f"which reads {self._tower.length}: allowed for this text: "
                f"{max(0, self._tower.length - 1 - int(ends[k]))} or fewer"
            )
        return self._layout(tokens, ends, len(self._start), learned)

    def adaptable(self, texts: Sequence[str]) -> AdaptableTexts:
        """K texts through the tower, in whose blocks replicas may have parts of their own."""
        tokens, ends = self._tokens(texts)
        alike = min(len(_alike(tokens)), int(ends.min()))
        return AdaptableTexts(self._tower, self._layout(tokens, ends, alike, 0))

    def _tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens `(K, L)` of texts, and where each ends `(K,)`."""
        tokens = self._tokenizer(list(texts))
        return tokens, torch.tensor([self._end(row) for row in tokens])

    def _layout(self, tokens: Tensor, ends: Tensor, start: int, learned: int) -> Layout:
        """Of texts whose first `start` tokens are alike, with room behind these."""
        place, last = self._device, ends - start
        own = tokens[:, start : max(start, self._tower.length - learned)]
        return Layout(tokens[0, :start].to(place), own.to(place), learned, last.to(place), int(last.max()) + 1)

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
