"""A method without training whose few hyperparameters the protocol may choose from a grid."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import ClassVar

from methods.contract.base import Array, Candidate, Method, Params, Replica, Task
from methods.contract.program import Program

Point = dict[str, float]


class GridMethod(Method):
    """Base of the closed forms with a grid: override `prepare`, and name the values of the grid."""

    grid: ClassVar[Mapping[str, Sequence[float]]]  # parameters with their values; the last one varies fastest

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        """The work that all grid points share; gives back `logits(queries, **point)`, `(M, D)` to `(M, K)`.

        Whatever depends on the queries but not on the fastest parameter belongs in a `PerQueries`.
        """
        raise NotImplementedError(f"{type(self).__name__} must override `prepare`")

    def configured(self, task: Task, replica: Replica) -> Point:
        """The point that is used where the protocol may choose nothing: the parameters as they are."""
        return {name: replica.params[name] for name in self.grid}

    def program(self, task: Task, replica: Replica, point: Point) -> Program | None:
        """The classifier at a point as data, to be shipped; None where it is linear in the query, or can't be."""
        return None

    def note(self, task: Task, replica: Replica) -> str:
        """A footnote for the tables, or nothing."""
        return ""

    def needs(self, params: Params) -> frozenset[str]:
        """Image and text, and the augmented views where a parameter of that name asks for them."""
        return frozenset({"image", "text"} | ({"views"} if params.get("views") else set()))

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        """Every point of the grid where the protocol chooses, and the configured one at the end."""
        for replica in replicas:
            own = task.of(replica)
            logits, note = self.prepare(own, replica), self.note(own, replica)
            for point in [*self._grid(own), self.configured(own, replica)]:
                yield Candidate.of(replica, _at(logits, point), point, note, partial(self.program, own, replica, point))

    def _grid(self, task: Task) -> list[Point]:
        points = product(*self.grid.values()) if task.choosing else []
        return [dict(zip(self.grid, point, strict=True)) for point in points]


def _at(logits: Callable[..., Array], point: Point) -> Callable[[Array], Array]:
    return lambda queries: logits(queries, **point)
