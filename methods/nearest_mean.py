"""Nearest class mean: the cosine to the mean image of each class, the plainest use of the labelled images."""

from methods import Classifier, Facts, Method, Replica, Task, hookimpl, unit


class NearestMean(Method):
    """`s f μ̂_k^T` with μ_k the mean of the images of class k: scikit-learn's `NearestCentroid`, by the cosine.

    It sees no text, so with few images it can be below zero-shot.
    """

    name = "nearest_mean"
    departs = "nothing; it is a baseline without a paper"
    facts = Facts(
        year=2017,
        formula="s f μ̂_k^T",
        training="none: a closed form",
        learned="0",
        fit="2 * N * D * K",
        memory="D * K",
        use="As the baseline that shows what the images alone tell (prototypical networks without training).",
        fails="With few images: it sees no text. With many, it knows no covariance.",
    )

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support = task.supports[replica.seed]
        means = unit(support.one_hot(task.classes).T @ support.x)  # a sum has the mean's direction
        return lambda queries: task.logit_scale * queries @ means.T


@hookimpl
def register_methods() -> list[type[Method]]:
    return [NearestMean]
