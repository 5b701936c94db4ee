"""APE: a cache model on the channels that tell the classes apart, its votes weighted by what zero-shot gets wrong."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from methods import Array, Facts, GridMethod, Method, Param, Params, Replica, Support, Task, hookimpl, unit
from methods.contract import cache_model
from methods.contract.base import Floats, Labels
from methods.contract.cache_model import CacheModel
from methods.contract.gridded import Point
from methods.contract.per_queries import PerQueries
from methods.contract.program import Program

TINY = 1e-6  # inside the published logarithm
LARGEST = 80.0  # of γ d: e^80 is near the largest number of float32


class AdaptivePriorRefinement(GridMethod):
    """`s f T^T + α exp(−β (1 − f' F'^T)) diag(exp(γ d)) Y` with f', F', T' cut to Q channels and made unit again.

    The Q channels have the best `−w₀ S_d + w₁ V_d`: S_d is the mean over pairs of samples of different classes, images
    and class texts alike, of the product of their d-th coordinates, V_d the variance over classes of the d-th text
    coordinate. The divergence d of an image's label from zero-shot is `log₂((1 + 1e-6) / (p + 1e-6))` with p the own
    class's share of `softmax(F' T'^T)`. `divergence: scaled` is ours: `−log p` of `softmax(s F T^T)` on all channels,
    which tells images apart where the published one, whose cosines are not scaled, is nearly the same for all.
    """

    name = "ape"
    paper = "arXiv:2304.01195"
    departs = (
        "α, β, γ, w₀, w₁ and Q of each dataset, chosen on the reported split; ten views of each image, unless"
        " `views: true`; APE-T, which trains"
    )
    facts = Facts(
        year=2023,
        formula="s f T^T + α exp(−β (1 − f' F'^T)) diag(exp(γ d)) Y",
        training="none: a closed form",
        learned="0",
        fit="4 * N * D * K",
        memory="N * (D + K)",
        use="As tip_adapter, where some channels tell the classes apart and others do not.",
        fails=(
            "Where its six hyperparameters can't be chosen: the published ones belong to s = 100 and the "
            "paper's datasets."
        ),
    )
    params = {
        "beta": Param(5.5, "sharpness β: how fast a vote falls off with the distance of the image", low=0),
        "gamma": Param(0.1, "weight γ of an image's divergence from zero-shot in its vote", low=0, high=1),
        "alpha": Param(1.0, "weight α of the votes beside the zero-shot logits", low=0),
        "divergence": Param("paper", "the published divergence, or ours", choices=("paper", "scaled")),
        "channels": Param(0.78, "share of the channels that are kept", above=0, high=1),
        "w0": Param(0.5, "weight w₀ of the similarity between classes in a channel's score", low=0),
        "w1": Param(0.5, "weight w₁ of the variance of the texts in a channel's score", low=0),
        "views": Param(False, "use the mean of the augmented views of each image in place of the image"),
    }
    grid = {
        "beta": np.geomspace(0.1, 30, 20).tolist(),
        "gamma": [0.0, 0.1, 0.3, 1.0],
        "alpha": np.geomspace(0.05, 50, 20).tolist(),
    }

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        text, cut, labels, channels, divergence = self._parts(task, replica)
        cache = CacheModel(cut)
        zero_shot = PerQueries(lambda queries: task.logit_scale * queries @ text.T)
        refined = PerQueries(lambda queries: unit(queries[:, channels]))
        voted = PerQueries(
            lambda queries, beta, gamma: cache.read(refined(queries), beta, weights(divergence, gamma) * labels)
        )
        return lambda queries, beta, gamma, alpha: zero_shot(queries) + alpha * voted(queries, beta, gamma)

    def program(self, task: Task, replica: Replica, point: Point) -> Program:
        text, cut, labels, channels, divergence = self._parts(task, replica)
        values = point["alpha"] * weights(divergence, point["gamma"]) * labels
        return cache_model.program(task.logit_scale * text, cut, point["beta"], values, channels)

    def _parts(self, task: Task, replica: Replica) -> tuple[Floats, Floats, Floats, Labels, NDArray[np.float64]]:
        """The texts, the cut images `(N, Q)`, their one-hot labels, the channels, each image's divergence `(N,)`."""
        support, text = task.supports[replica.seed], task.class_text()
        support = support.mean_of_views() if replica.params["views"] else support
        channels = kept(support, text, replica.params)
        cut = unit(support.x[:, channels])
        if replica.params["divergence"] == "paper":
            divergence = divergence_in_bits(own_surprise(cut @ unit(text[:, channels]).T, support.y))
        else:
            divergence = own_surprise(task.logit_scale * support.x @ text.T, support.y)
        return text, cut, support.one_hot(task.classes), channels, divergence


def weights(divergence: NDArray[np.float64], gamma: float) -> Floats:
    """`exp(γ d) (N, 1)`: what the vote of each image counts."""
    return np.exp((gamma * divergence).clip(max=LARGEST)).astype(np.float32)[:, None]


def kept(support: Support, text: Floats, params: Params) -> Labels:
    """The indices of the channels that are kept, `(Q,)` in ascending order."""
    alike = between_classes(support, text)
    score = params["w1"] * text.astype(np.float64).var(axis=0, ddof=1) - params["w0"] * alike
    count = max(1, round(params["channels"] * len(score)))
    return np.sort(np.argsort(-score, kind="stable")[:count])


def between_classes(support: Support, text: Floats) -> NDArray[np.float64]:
    """S `(D,)`: the mean, over pairs of samples of different classes, of the product of each coordinate.

    The text of a class counts as one more sample of it. No loop over pairs: the square of a sum is the sum over all
    pairs, so the sum over pairs of different classes is the square of the total less the squares of the classes'
    totals.
    """
    one_hot = support.one_hot(len(text)).astype(np.float64)
    totals, samples = one_hot.T @ support.x + text, one_hot.sum(0) + 1
    pairs = samples.sum() ** 2 - (samples**2).sum()
    return (totals.sum(0) ** 2 - (totals**2).sum(0)) / pairs


def own_surprise(logits: Array, y: Labels) -> NDArray[np.float64]:
    """`−log softmax(logits)` of each row's own class `(N,)`: its KL divergence from the one-hot label."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]


def divergence_in_bits(surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    """`log₂((1 + 1e-6) / (p + 1e-6))` with `p = exp(−surprise)`, `(N,)`."""
    return np.log2((1 + TINY) / (np.exp(-surprise) + TINY))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [AdaptivePriorRefinement]
