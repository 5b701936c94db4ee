"""A method with the frozen text tower in its loop: it says what is put before the class names, the engine trains it."""

from collections.abc import Callable, Mapping
from typing import Any

from methods.contract.base import Array, Params, Replica, Task, unit
from methods.contract.trained import TrainedMethod


class TowerMethod(TrainedMethod):
    """Base of the methods that learn what the frozen text tower reads: override `parts` and `texts`.

    Images stay cached features. A step computes the class texts once, whatever the size of the batch, and classifies by
    `s f t^T`. Batches, the recipe, the seeds and variants side by side are those of `TrainedMethod`.
    """

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text_encoder"})

    def parts(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        """What a replica trains, `nn.Parameter`s by name, and what it needs for it: prompts, constant arrays."""
        raise NotImplementedError(f"{type(self).__name__} must override `parts`")

    def texts(self, head: Any) -> Array:
        """The class texts `(R, K, D)`, of any length, from the parts, which have R replicas first."""
        raise NotImplementedError(f"{type(self).__name__} must override `texts`")

    def beside(self, head: Any, text: Array) -> Array | None:
        """What is added to the loss of each replica, `(R,)`, of the unit class texts `(R, K, D)`; None for nothing."""
        return None

    # --- What the engine asks a head ---

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        return {"logit_scale": task.logit_scale, **self.parts(nn, task, replica)}

    def logits(self, head: Any, x: Array) -> Array:
        head.class_texts = unit(self.texts(head))  # `penalty`, which comes next, is about the same
        return x @ (head.logit_scale * head.class_texts).mT

    def penalty(self, head: Any) -> Array | None:
        return self.beside(head, head.class_texts)

    def folded(self, head: Any) -> Callable[[Array], Array]:
        return self.behind_tower(head)

    def behind_tower(self, head: Any) -> Callable[[Array], Array]:
        weights = (head.logit_scale * unit(self.texts(head))).mT
        return lambda x: x @ weights
