"""Nearest class mean: the cosine to the mean image of each class, the plainest use of the labelled images."""

from methods import Classifier, Method, Replica, Task, hookimpl, unit


class NearestMean(Method):
    """`s f μ̂_k^T` with μ_k the mean of the images of class k: scikit-learn's `NearestCentroid`, by the cosine.

    It sees no text, so with few images it can be below zero-shot.
    """

    name = "nearest_mean"
    departs = "nothing: it is a baseline without a paper"

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support = task.supports[replica.seed]
        means = unit(support.one_hot(task.classes).T @ support.x)  # a sum has the mean's direction
        return lambda queries: task.logit_scale * queries @ means.T


@hookimpl
def register_methods() -> list[type[Method]]:
    return [NearestMean]
