"""A method that trains a head by gradient descent: it says what the head is, the engine trains all replicas at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

from methods.contract.base import Array, Candidate, Method, Params, Replica, Support, Task
from methods.contract.by_hand import Pullback
from methods.contract.recipe import Recipe


class TrainedMethod(Method):
    """Base of the methods that train: override `head` and `logits`, and `recipe` where AdamW at one rate won't do."""

    gpu = True
    engine = "heads"
    scalars: ClassVar[tuple[str, ...]] = ()  # parameters of type float that `logits` reads as `head.<name>`

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        """The layers of one replica by name: modules of `nn` (torch.nn), trainable `nn.Parameter`s, constant arrays.

        The global torch generator is seeded for the replica while this runs, so PyTorch's own initialisation is fine.
        """
        raise NotImplementedError(f"{type(self).__name__} must override `head`")

    def logits(self, head: Any, x: Array) -> Array:
        """Logits `(R, B, K)` of images `x (R, B, D)`, or `(M, D)` shared by all replicas, with R replicas of `head`.

        Attributes of `head` are the layers, called like modules, and parameters, constants and scalars with a leading
        replica dimension; a constant that is the same for all replicas has none.
        """
        raise NotImplementedError(f"{type(self).__name__} must override `logits`")

    def vjp(self, head: Any, x: Array) -> tuple[Array, Pullback] | None:
        """`logits` of a training batch `x (R, B, D)` with its gradient by hand, or None: autograd derives it.

        Gives the logits, and a function from their gradient to those of the weights by name, for which the layers have
        a `vjp` of their own. Worth writing where the steps are many and small: autograd costs as much as they do.
        The next step writes over `x` and all that a layer gave.
        """
        return None

    def folded(self, head: Any) -> Callable[[Array], Array]:
        """What maps queries `x (M, D)` to logits after an epoch: `logits`, or what it comes to with everything that
        does not depend on x computed beforehand.
        """
        return lambda x: self.logits(head, x)

    def penalty(self, head: Any) -> Array | None:
        """What is added to the mean cross-entropy of each replica: `(R,)`, or None for nothing."""
        return None

    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        """The samples to train on. With several sources each step takes a batch of every one; the first sets epochs."""
        return [task.supports[replica.seed]]

    def recipe(self, task: Task, params: Params) -> Recipe:
        """How to train with these parameters."""
        return Recipe("adamw", params["lr"], params["weight_decay"], params["epochs"], params["batch_size"])

    def trainable(self, task: Task, params: Params) -> int:
        return task.trainer().trainable(self, task, Replica("", params, 0))

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Train together what has the same shape: the same parameters apart from scalars, rate and decay."""
        for _, group in groupby(sorted(replicas, key=self._shape), key=self._shape):
            yield from task.trainer().train(self, task, list(group))

    def _shape(self, replica: Replica) -> str:
        free = {*self.scalars, "lr", "weight_decay"}
        return repr([(name, value) for name, value in sorted(replica.params.items()) if name not in free])
