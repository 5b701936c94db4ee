"""Tip-Adapter: the labelled images as a key-value cache beside the zero-shot classifier; nothing is trained."""

from collections.abc import Callable

import numpy as np

from methods import Array, Facts, GridMethod, Method, Param, Replica, Support, Task, hookimpl
from methods.contract import cache_model
from methods.contract.cache_model import CacheModel
from methods.contract.gridded import Point
from methods.contract.per_queries import PerQueries
from methods.contract.program import Program


class TipAdapter(GridMethod):
    """`s f T^T + α exp(−β (1 − f F^T)) Y`: the images F that resemble the query vote for their labels Y.

    The grid has 200 β from 0.1 to 30 and 20 α from 0.05 to 50, in equal ratios. One affinity `f F^T` serves
    all of it, and one reading of the cache all α of a β.
    """

    name = "tip_adapter"
    paper = "arXiv:2207.09519"
    departs = "α and β of each dataset, chosen on the reported split; ten views of each image, unless `views: true`"
    facts = Facts(
        year=2022,
        formula="s f T^T + α exp(−β (1 − f F^T)) Y",
        training="none: a closed form",
        learned="0",
        fit="0",
        memory="N * (D + K)",
        use="Without time to train; where α and β can be chosen on held-out images.",
        fails="With α as published on other data: the votes add up with the shots. Each answer costs 2 N D.",
    )
    params = {
        "beta": Param(5.5, "sharpness β: how fast a vote falls off with the distance of the image", low=0),
        "alpha": Param(1.0, "weight α of the votes beside the zero-shot logits", low=0),
        "views": Param(False, "use the mean of the augmented views of each image in place of the image"),
    }
    grid = {"beta": np.geomspace(0.1, 30, 200).tolist(), "alpha": np.geomspace(0.05, 50, 20).tolist()}

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        support, text = kept(task, replica), task.class_text()
        cache, labels = CacheModel(support.x), support.one_hot(task.classes)
        zero_shot = PerQueries(lambda queries: task.logit_scale * queries @ text.T)
        votes = PerQueries(lambda queries, beta: cache.read(queries, beta, labels))
        return lambda queries, beta, alpha: zero_shot(queries) + alpha * votes(queries, beta)

    def program(self, task: Task, replica: Replica, point: Point) -> Program:
        support, text = kept(task, replica), task.logit_scale * task.class_text()
        return cache_model.program(text, support.x, point["beta"], point["alpha"] * support.one_hot(task.classes))


def kept(task: Task, replica: Replica) -> Support:
    """The keys of the cache with their labels: images, or the means of their views."""
    support = task.supports[replica.seed]
    return support.mean_of_views() if replica.params["views"] else support


@hookimpl
def register_methods() -> list[type[Method]]:
    return [TipAdapter]
