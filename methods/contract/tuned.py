"""A method that trains weights of the backbone itself: it says which, the engine trains them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from methods.contract.base import Array, Candidate, Params, Replica, Task, unit
from methods.contract.changes import Changes
from methods.contract.encoder import Model, Module
from methods.contract.exporting import CannotShipError
from methods.contract.needs import before
from methods.contract.params import Param
from methods.contract.trained import TrainedMethod

POINTS = 3  # of a training that are scored, where nothing is chosen among them: each is a pass over all queries
VIEWS = {
    "crop": Param(1.0, "least share of an image that a random crop keeps; 1 leaves images whole", above=0, high=1),
    "flip": Param(False, "whether half of the images are mirrored"),
}


def few(task: Task) -> Task:
    """The task with at most `POINTS` points of a training scored; 0, all of them, stays."""
    return replace(task, curve=min(task.curve, POINTS))


class TunedMethod(TrainedMethod):
    """Base of the methods that train weights of the towers: `s unit(g(x)) t^T`, trained by cross-entropy.

    g is the image tower from pixels on, or its last blocks from what goes into them; t are the class texts, zero-shot's
    or those of a text tower that is trained too. Override `blocks`, and `image` or `texts` where not all that runs is
    trained. Batches, the recipe, the seeds and variants are those of `TrainedMethod`. There must be a parameter `wise`.
    """

    blends: ClassVar[str] = "wise"

    def blocks(self, params: Params) -> int:
        """How many of the image tower's last blocks run in the loop; 0: all of it, from the pixels on."""
        return 0

    def image(self, model: Model, task: Task, replica: Replica) -> Module:
        """The module of the image tower that a replica trains, or a part of it."""
        return model.image(self.blocks(replica.params))

    def texts(self, model: Model, task: Task, replica: Replica) -> Module | None:
        """That of the text tower; None where the class texts stay zero-shot's."""
        return None

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "model", before(self.blocks(params))})

    def candidates(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        yield from super().candidates(few(task), replicas)

    # --- What the engine asks a head ---

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        model = task.loaded_model()
        text = self.texts(model, task, replica)
        image = self.image(model, task, replica)
        return {"logit_scale": task.logit_scale, "image": image, "text": task.class_text() if text is None else text}

    def logits(self, head: Any, x: Array) -> Array:
        return unit(head.image(x)) @ (head.logit_scale * class_texts(head)).mT

    def folded(self, head: Any) -> Callable[[Array], Array]:
        classify = self.behind_tower(head)
        return lambda x: classify(unit(head.image(x)))

    def changed_tower(self, head: Any) -> Changes | None:
        if not hasattr(head.image, "changes"):
            raise CannotShipError("what it trains is no module of `model.image`, but has one in it")
        found: Changes = head.image.changes()
        return found

    def behind_tower(self, head: Any) -> Callable[[Array], Array]:
        weights = (head.logit_scale * class_texts(head)).mT
        return lambda x: x @ weights


def class_texts(head: Any) -> Array:
    """The unit class texts `(R, K, D)`, or `(K, D)` where they are not trained."""
    return head.text() if callable(head.text) else head.text
