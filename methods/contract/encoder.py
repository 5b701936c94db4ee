"""A backbone's towers as a method sees them. What runs them is `workflow.lib.towers`."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from methods.contract.adaptation import Adaptable, AdaptableImages
from methods.contract.changes import Changes, Numbers

Tensor = Any  # of torch, which nothing here imports
Module = Any
Trains = Callable[[str], bool]  # whether a parameter, by the tower's name for it, is trained
Change = Callable[[Sequence[Module]], None]  # of the blocks of a tower, before it is asked what trains


def every(name: str) -> bool:
    """All that runs is trained."""
    return True


def unchanged(blocks: Sequence[Module]) -> None:
    """The tower stays as it is."""


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


class Model(Protocol):
    """The backbone's two towers, whose weights a method may train: `task.loaded_model()`.

    A module that comes from here has a structure of its own. Of its tensors, those that `trains` names are its own too,
    and all others the model's, which every module shares: change modules in it, but never such a tensor in place.
    `change` may put layers of its own into the blocks that run. What is of the model stays as in inference: BatchNorm
    has its own statistics.
    """

    def image(self, blocks: int = 0, trains: Trains = every, change: Change = unchanged) -> Module:
        """The image tower from pixels on or, with `blocks`, its last ones with what stands behind them.

        From rows `(B, …)` of `pixels`, or of that array before the blocks, to embeddings `(B, D)`, not unit. Names are
        as below `visual`, `proj` or `transformer.resblocks.11.ln_1.weight`.
        """
        ...

    @property
    def unfit(self) -> str:
        """Why replicas can't have parts of their own in the image tower's blocks; empty where they can."""
        ...

    def adaptable(self, blocks: int = 0) -> AdaptableImages:
        """The image tower, in whose blocks they have: rows as of `image`. For a method that needs `image_blocks`."""
        ...

    def embeddings(self, rows: Any, blocks: int, changes: Changes) -> Numbers:
        """Embeddings `(M, D)` float32, not unit, of rows as of `image`, through the image tower with these changes."""
        ...

    def views(self, least: float, flip: bool) -> Module:
        """From rows `(B, H W 3)` of `pixels` to others: in training a random crop of each image, of this share of it at
        the least, and if `flip` half of them mirrored; otherwise themselves.
        """
        ...

    def texts(self, trains: Trains = every, change: Change = unchanged) -> Module:
        """The text tower over the prompts of all classes: called with nothing, unit class texts `(K, D)`.

        They are zero-shot's, the mean of each class over templates and names. For a method with `text_encoder` in its
        needs too, for there are text towers that can't be run.
        """
        ...
