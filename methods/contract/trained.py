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
        replica dimension; a constant that is the same for all replicas has none. Where the engine has to call the
        modules of a head as they are, x is `(R, M, D)` throughout.
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
        """What is added to the loss of each replica: `(R,)`, or None for nothing."""
        return None

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array | None:
        """The loss of each replica `(R,)` on a batch `x (R, B, D)`, in place of the mean cross-entropy; None is that.

        Of logits `(R, B, K)` and labels `(R, B)`, in 0 … K − 1. `penalty` comes on top. Autograd derives the gradients
        then: `vjp` is not asked.
        """
        return None

    def overrides(self, hook: str) -> bool:
        """Whether the method has a hook of its own in place of the one here: then it is asked."""
        return getattr(type(self), hook) is not getattr(TrainedMethod, hook)

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
