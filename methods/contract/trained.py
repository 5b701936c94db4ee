"""A method that trains a head by gradient descent: it says what the head is, the engine trains all replicas at once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, product
from math import prod
from typing import Any, ClassVar

from methods.contract.base import Array, Candidate, Method, Params, Replica, Support, Task
from methods.contract.by_hand import Pullback
from methods.contract.changes import Changes
from methods.contract.gridded import Point
from methods.contract.params import label
from methods.contract.per_queries import PerQueries
from methods.contract.program import Program
from methods.contract.recipe import Recipe


class TrainedMethod(Method):
    """Base of the methods that train: override `head` and `logits`, and `recipe` where AdamW at one rate won't do."""

    gpu = True
    engine = "heads"
    compiled: ClassVar[str] = ""  # of what kind the head is, if the engine has it compiled; no subclass inherits that
    scalars: ClassVar[tuple[str, ...]] = ()  # parameters of type float that `logits` reads as `head.<name>`
    alike: ClassVar[tuple[str, ...]] = ()  # further ones in which replicas may differ side by side: numbers in `head`
    blends: ClassVar[str] = ""  # the parameter w of the weights (1 − w) θ₀ + w θ that classify: a sweep is one training
    grid: ClassVar[
        Mapping[str, Sequence[float]]
    ] = {}  # values that the protocol may choose from, each trained to its end

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

    def changed_tower(self, head: Any) -> Changes | None:
        """What of the image tower is other for the first replica of a head that sees images through it; None for one
        that sees embeddings. It is shipped, with `behind_tower`.
        """
        return None

    def behind_tower(self, head: Any) -> Callable[[Array], Array]:
        """What maps unit embeddings `(M, D)` of a tower with these changes to logits."""
        raise NotImplementedError(f"{type(self).__name__} must override `behind_tower`")

    def penalty(self, head: Any) -> Array | None:
        """What is added to the loss of each replica: `(R,)`, or None for nothing."""
        return None

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array | None:
        """The loss of each replica `(R,)` on a batch `x (R, B, D)`, in place of the mean cross-entropy; None is that.

        Of logits `(R, B, K)` and labels `(R, B)`, in 0 … K − 1. `penalty` comes on top. Autograd derives the gradients
        then: `vjp` is not asked.
        """
        return None

    @property
    def resumes(self) -> bool:
        """Whether a training that was killed may go on from a checkpoint: not with a `fit` of one's own, which may look
        at what came before.
        """
        return type(self).fit is TrainedMethod.fit

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

    def candidates(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Train replicas of one shape side by side: their candidates, epoch after epoch."""
        yield from task.trainer().train(self, task, replicas)

    @classmethod
    def points(cls, choosing: bool) -> int:
        """How many trainings a replica is: every point of the grid and the configured one, where there is a choice."""
        return 1 + prod(map(len, cls.grid.values())) if choosing and cls.grid else 1

    def configured(self, task: Task, replica: Replica) -> Point:
        """The point of the grid that is used where the protocol may choose nothing: the parameters as they are."""
        return {name: replica.params[name] for name in self.grid}

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Every epoch that the task wants; where there is a grid and the protocol chooses, the last one of each point,
        and of the configured one at the end.
        """
        if not (task.choosing and self.grid):
            yield from self._side_by_side(task, replicas)
            return
        last = replace(task, curve=1, choosing=False)
        points = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        yield from self._at(last, [(replica, point) for point in points for replica in replicas])
        yield from self._at(last, [(replica, self.configured(task, replica)) for replica in replicas])

    def export(self, task: Task, replica: Replica, point: Mapping[str, float] | None = None) -> Program:
        """As of any method; at a point of the grid, the replica is trained there alone."""
        if task.choosing and self.grid:
            own = dict(point) if point is not None else self.configured(task, replica)
            task, replica, point = replace(task, curve=1, choosing=False), _moved(replica, own), None
        return super().export(task, replica, point)

    def _at(self, task: Task, wanted: Sequence[tuple[Replica, Point]]) -> Iterator[Candidate]:
        """Replicas at points of the grid; a candidate has those at one point."""
        placed = {_moved(replica, point): (replica, point) for replica, point in wanted}
        for candidate in self._side_by_side(task, list(placed)):
            logits = PerQueries(candidate.logits)
            owners = [placed[one] for one in candidate.replicas]
            for rows in _by_point([point for _, point in owners]):
                replicas, point = [owners[row][0] for row in rows], owners[rows[0]][1]
                yield Candidate(replicas, partial(_rows, logits, rows), point)

    def _side_by_side(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Train together what has the same shape: the same parameters apart from scalars, rate and decay."""
        for _, group in groupby(sorted(replicas, key=self._shape), key=self._shape):
            yield from self.candidates(task, list(group))

    def _shape(self, replica: Replica) -> str:
        free = {*self.scalars, *self.alike, self.blends, "lr", "weight_decay"}
        return repr([(name, value) for name, value in sorted(replica.params.items()) if name not in free])


def _moved(replica: Replica, point: Point) -> Replica:
    """The replica at a point of the grid."""
    return Replica(f"{replica.variant} at {label(point)}", {**replica.params, **point}, replica.seed)


def _by_point(points: Sequence[Point]) -> list[list[int]]:
    """The places of equal points."""
    found: dict[str, list[int]] = {}
    for place, point in enumerate(points):
        found.setdefault(repr(point), []).append(place)
    return list(found.values())


def _rows(logits: Callable[[Array], Array], rows: Sequence[int], queries: Array) -> Array:
    """Some replicas' logits of all."""
    return logits(queries)[rows]
