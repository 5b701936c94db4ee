"""The frozen text tower as a method sees it. What runs it is `workflow.lib.towers`."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from methods.contract.adaptation import Adaptable

Tensor = Any  # of torch, which nothing here imports


@runtime_checkable
class Prompts(Protocol):
    """Texts with room for learned context vectors before each, through the frozen text tower.

    One of a head's parts, as it is: the replicas of a head share it.
    """

    width: int  # W, of a context vector

    def __call__(self, context: Tensor) -> Tensor:
        """Class texts `(R, K, D)`, not unit, of contexts `(R, M, W)`, or `(R, K, M, W)` with vectors for each class.

        Gradients flow back to the contexts.
        """
        ...


class TextEncoder(Protocol):
    """The backbone's text tower, frozen, with its tokenizer: `task.text_encoder()`.

    `names (K)` are those of the classes as they stand in prompts, of a class with several the first; `templates` the
    dataset's.
    """

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def templates(self) -> Sequence[str]: ...

    @property
    def adapts(self) -> bool:
        """Whether replicas may have parts of their own in its blocks: for a method that needs `text_blocks`."""
        ...

    def prompts(self, texts: Sequence[str], learned: int) -> Prompts:
        """K texts, with room for `learned` context vectors before each: where the tokens of a longer text would be."""
        ...

    def adaptable(self, texts: Sequence[str]) -> Adaptable:
        """K texts through the tower, in which replicas may have parts of their own."""
        ...

    def embedded(self, text: str) -> Tensor:
        """The embeddings `(M, W)` of a text's own tokens, to start contexts at."""
        ...
