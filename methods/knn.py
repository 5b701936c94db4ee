"""k nearest neighbours: the labelled images that a query resembles most vote for their labels."""

from collections.abc import Callable

import numpy as np

from methods import Array, Facts, GridMethod, Method, Param, Params, Replica, Task, hookimpl
from methods.contract.base import Floats, Labels
from methods.contract.gridded import Point
from methods.contract.per_queries import PerQueries
from methods.contract.program import INPUT, Program, Writer

SLICE = 2**22  # cosines worked on at a time: 16 MiB
NEAREST = 1e-6  # distance below which an image counts as the query itself
NO_VOTE, TIE = 1e-4, 1e-3  # of a vote: what a class has that got none, and what its nearest image adds at the most


class NearestNeighbours(GridMethod):
    """`log Σ_{i among the k nearest, y_i = c} v_i` for class c: scikit-learn's `KNeighborsClassifier` on unit vectors.

    `vote: hard` counts, v_i = 1, and of two classes with as many votes the one with the nearest image wins;
    `vote: soft` weighs, v_i = 1 / distance. With one image of each class it is the nearest image for any k. It sees no
    text, so with few images it can be below zero-shot.
    """

    name = "knn"
    departs = "nothing; it is a baseline without a paper"
    facts = Facts(
        year=1967,
        formula="log Σ v_i over the k nearest of class c",
        training="none: a closed form",
        learned="0",
        fit="0",
        memory="N * D",
        use="As the baseline that shows how the embedding clusters.",
        fails="With few images: it sees no text, and k images cross the borders of classes. Each answer costs 2 N D.",
    )
    params = {
        "k": Param(5, "how many images vote; all of them if there are fewer", low=1),
        "vote": Param("hard", "whether each vote counts the same, or by its distance", choices=("hard", "soft")),
    }
    grid = {"k": [1, 2, 3, 4, 5, 7, 10, 15, 20, 30]}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image"})

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        support, soft = task.supports[replica.seed], replica.params["vote"] == "soft"
        most = min(len(support.y), max(replica.params["k"], *self.grid["k"]) if task.choosing else replica.params["k"])
        found = PerQueries(lambda queries: nearest(queries, support.x, int(most)))

        def logits(queries: Floats, k: float) -> Floats:
            rows, cosines = (part[:, : int(k)] for part in found(queries))
            distance = np.sqrt((2 - 2 * cosines).clip(0)).clip(NEAREST)
            votes = tally(support.y[rows], 1 / distance if soft else np.ones_like(distance), task.classes)
            if not soft:
                best = np.zeros_like(votes)
                np.maximum.at(best, (np.arange(len(rows))[:, None], support.y[rows]), (1 + cosines) / 2)
                votes += TIE * best
            return np.log(votes + NO_VOTE)

        return logits

    def program(self, task: Task, replica: Replica, point: Point) -> Program:
        support, write = task.supports[replica.seed], Writer()
        cosines = write("linear", INPUT, support.x.T)
        votes = write("top", cosines, min(len(support.y), int(point["k"])))
        if replica.params["vote"] == "soft":
            squared = write("maximum", write("subtract", 2.0, write("multiply", 2.0, cosines)), 0.0)
            votes = write("divide", votes, write("maximum", write("sqrt", squared), NEAREST))
        tallied = write("linear", votes, support.one_hot(task.classes))
        if replica.params["vote"] == "hard":
            near = write("multiply", votes, write("divide", write("add", 1.0, cosines), 2.0))
            best = write("class_max", near, support.y, task.classes)
            tallied = write("add", tallied, write("multiply", TIE, best))
        return write.program(write("log", write("add", tallied, NO_VOTE)))


def nearest(queries: Floats, x: Floats, k: int) -> tuple[Labels, Floats]:
    """The rows of the k images that each query resembles most, the nearest first, and their cosines: `(M, k)` each."""
    rows, cosines = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    step = max(1, SLICE // len(x))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        alike = queries[part] @ x.T
        found = np.sort(np.argpartition(alike, -k, axis=1)[:, -k:], axis=1)  # sorting them all would take far longer
        close = np.take_along_axis(alike, found, 1)
        order = np.argsort(-close, axis=1, kind="stable")  # of equals the first image
        rows[part], cosines[part] = np.take_along_axis(found, order, 1), np.take_along_axis(close, order, 1)
    return rows, cosines


def tally(labels: Labels, votes: Floats, classes: int) -> Floats:
    """The votes `(M, k)` for the labels `(M, k)` by class: `(M, classes)` float32."""
    place = np.arange(len(labels))[:, None] * classes + labels
    counted = np.bincount(place.ravel(), votes.ravel(), minlength=len(labels) * classes)
    return counted.reshape(len(labels), classes).astype(np.float32)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [NearestNeighbours]
