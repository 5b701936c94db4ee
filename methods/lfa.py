"""LFA: a linear map that lays image embeddings on the class texts, in closed form and then by a few steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods import (
    Array,
    Facts,
    Method,
    Param,
    Params,
    Recipe,
    Replica,
    Support,
    Task,
    TrainedMethod,
    by_hand,
    hookimpl,
)
from methods.contract.base import Floats

BY_SPLITS = -1.0  # b: chosen on parts of the support that were left out
SPLITS, HELD_OUT = 3, 0.2
SHARES = np.linspace(0, 1, 25)
NEAREST, MARGIN = 3, 4.0  # of the loss: how many wrong classes of an image, and what divides their distance
TIE = 1e-6  # of the largest singular value
TINY = 1e-12  # of a squared distance: a root has no slope at 0
KEPT = 2  # supports whose b is remembered: the engine builds a head to count its weights before it trains


class LinearAlignment(TrainedMethod):
    """`s unit(f W) T^T`; W `(D, D)` begins at `(1 − b) R + b I`, R the rotation that lays images on their texts.

    R is orthogonal and makes `Σ ‖f R − t_y‖²` smallest: `U V^T` of `F^T T_y = U S V^T`, of several the nearest to I. b
    is the share that does best, on average, on a fifth of the support that R has not seen, in three random splits; of
    equals the largest. Then AdamW on the adaptive re-ranking loss: the mean over the three wrong classes j nearest to
    an image of `relu(d(fW, t_y) + (1 − t_y t_j^T) / 4 − d(fW, t_j))`, d the distance of unit vectors.

    With b = 1 and no step it is zero-shot. It works, too, where image and text come from different models.
    """

    name = "lfa"
    paper = "arXiv:2304.01752"
    departs = (
        "a number of steps for each dataset, from 30 to 2000: one serves all here; one of five crops of each image in "
        "each step; in half of the steps noise on the embeddings and in half of them dropout; of equally good b the "
        "smallest, where ours is nearest to zero-shot; the own class may be one of the three nearest there, and adds "
        "nothing"
    )
    facts = Facts(
        year=2023,
        formula="s unit(f W) T^T, W from (1 − b) R + b I",
        training="closed form, then AdamW, 100 steps",
        learned="D**2",
        fit="E * N * (4 * D**2 + 4 * D * K) + 80 * D**3",
        memory="7 * D**2 + 2 * N * D",
        use="Where image and text come from different models, or their spaces are turned against each other.",
        fails="With one image of each class: b is chosen on a handful of images, and D² numbers are fitted.",
        passes=100,
    )
    params = {
        "b": Param(BY_SPLITS, "share b of the identity; −1 chooses it on parts of the support", low=BY_SPLITS, high=1),
        "lr": Param(5e-4, "learning rate", above=0),
        "weight_decay": Param(5e-4, "weight decay", low=0),
        "epochs": Param(100, "passes over the support, each of them one step", low=1),
    }
    alike = ("b",)

    def __init__(self) -> None:
        self._known: list[tuple[Floats, float]] = []

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def recipe(self, task: Task, params: Params) -> Recipe:
        return Recipe("adamw", params["lr"], params["weight_decay"], params["epochs"], 0, schedule="epoch cosine")

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        import torch

        support, text = task.supports[replica.seed], task.class_text()
        share, start = self._share(task, replica), np.eye(task.dim)
        if share < 1:
            start = (1 - share) * rotation(support, text) + share * start
        return {
            "weight": nn.Parameter(torch.tensor(start, dtype=torch.float32)),
            "text": text,
            "margin": (1 - text @ text.T) / np.float32(MARGIN),
            "scale": task.logit_scale,
        }

    def _share(self, task: Task, replica: Replica) -> float:
        """b, as given or chosen."""
        support, given = task.supports[replica.seed], float(replica.params["b"])
        if given >= 0:
            return given
        for x, share in self._known:
            if x is support.x:
                return share
        found = chosen_share(support, task.class_text(), replica.rng("splits"))
        self._known = [*self._known, (support.x, found)][-KEPT:]
        return found

    def logits(self, head: Any, x: Array) -> Array:
        moved = x @ head.weight
        return head.scale * (moved @ head.text.mT) / by_hand.length(moved)

    def loss(self, head: Any, logits: Array, labels: Array, x: Array) -> Array:
        distance = (2 - 2 * logits / head.scale).clamp_min(TINY).sqrt()
        column = labels[..., None]
        wrong = distance.scatter(-1, column, float("inf"))
        near = wrong.topk(min(NEAREST, wrong.shape[-1] - 1), largest=False)
        margin = head.margin[column, near.indices]
        return (distance.gather(-1, column) + margin - near.values).relu().mean((1, 2))


def rotation(support: Support, text: Floats) -> NDArray[np.float64]:
    """R `(D, D)`: with a little of the identity the closest rotation is unique, and the one nearest to it."""
    product = support.x.astype(np.float64).T @ text[support.y]
    little = TIE * np.linalg.norm(product) * np.eye(len(product))
    left, _, right = np.linalg.svd(product + little)
    return left @ right


def chosen_share(support: Support, text: Floats, rng: np.random.Generator) -> float:
    """b: of the best ones the largest, since it is the nearest to zero-shot."""
    right = np.zeros(len(SHARES))
    for _ in range(SPLITS):
        order = rng.permutation(len(support.y))
        out, rest = np.split(order, [max(1, round(HELD_OUT * len(order)))])
        turned = support.x[out] @ (rotation(Support(support.x[rest], support.y[rest]), text) @ text.T)
        plain = support.x[out] @ text.T
        answers = [((1 - share) * turned + share * plain).argmax(1) for share in SHARES]
        right += [(one == support.y[out]).mean() for one in answers]
    return float(SHARES[right >= right.max() - TINY][-1])


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LinearAlignment]
