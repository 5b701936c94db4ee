"""LP++: a linear probe with a learned share of the class text in each class, and step sizes that the data give."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from methods import Array, Candidate, Facts, Method, Param, Params, Replica, Support, Task, hookimpl
from methods.contract.base import Floats

MOMENTUM = 0.9
ALPHA_EVERY = 10  # iterations between steps of α, and between candidates
ALPHA_START = 250.0
MOST = 8  # times s: of 1 to 100 the one with no harm to a good text nor to a poor one
LOWEST = -60.0  # of a logit below the highest: e^−60 counts for nothing, but numbers like e^−90 slow a processor down


class LPPlusPlus(Method):
    """`f w_k^T + b_k + α_k f t_k^T`, trained by cross-entropy on the whole support at each iteration.

    w_k begins at the sum of its class's images, every α at 250 times the mean over classes of the mean cosine of an
    image and its own text. The step of w and b, with momentum, is `4 N / λ_max(F^T F)`; every ten iterations α takes
    one of `N / (4 max_k Σ_i (f_i t_k^T)²)`. No rate is to be chosen.

    `recipe: paper` is that. Ours, the default, begins with α no larger than 8 s, so that no text is over eight times as
    sure as the model is; with s = 100 the two are the same. Where s is 11 the paper's α is 200, and hardly moves: w
    overshoots to outvote the text, and one image of each class makes it worse than zero-shot.
    """

    name = "lp_pp"
    paper = "arXiv:2404.02285"
    departs = "nothing that the paper names, with `recipe: paper`"
    facts = Facts(
        year=2024,
        formula="f w_k^T + b_k + α_k f t_k^T",
        training="gradient descent, 300 iterations",
        learned="(D + 2) * K",
        fit="4 * E * N * D * K + 2 * N * D**2",
        memory="3 * D * K + 3 * N * K",
        use="Without a validation set: the data give its step sizes.",
        fails="With `recipe: paper` where s is far below 100: α hardly moves from its start.",
        passes=300,
    )
    params = {
        "recipe": Param("ours", "a start that fits any s, or the paper's", choices=("ours", "paper")),
        "iterations": Param(300, "passes over the support, each of them one step", low=1),
    }

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def trainable(self, task: Task, params: Params) -> int:
        return (task.dim + 2) * task.classes

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            most = MOST * task.logit_scale if replica.params["recipe"] == "ours" else inf
            descent = Descent(task.supports[replica.seed], task.class_text(), most)
            last = replica.params["iterations"]
            for iteration in range(1, last + 1):
                probe = descent.step(iteration % ALPHA_EVERY == 0)
                if iteration % ALPHA_EVERY == 0 or iteration == last:
                    yield Candidate.of(replica, probe, {"iteration": iteration})


@dataclass(frozen=True)
class Probe:
    """The classifier: `weight (K, D)`, `bias (K,)`, `alpha (K,)` and the class texts `(K, D)`."""

    weight: Floats
    bias: Floats
    alpha: Floats
    text: Floats

    def __call__(self, queries: Array) -> Array:
        return queries @ (self.weight + self.alpha[:, None] * self.text).T + self.bias


class Descent:
    """Block-wise gradient descent from the start that the class names, with α at `most` at the most."""

    def __init__(self, support: Support, text: Floats, most: float = inf) -> None:
        self._x, self._labels = support.x, support.one_hot(len(text))
        self._cosines = support.x @ text.T
        self._steps = step_sizes(support.x, self._cosines)
        images = self._labels.sum(0).clip(1)
        own = float(((self._labels * self._cosines).sum(0) / images).mean())
        alpha = np.full(len(text), min(ALPHA_START * own, most), np.float32)
        self.probe = Probe(self._labels.T @ support.x, np.zeros(len(text), np.float32), alpha, text)
        self._momentum = (np.zeros_like(self.probe.weight), np.zeros_like(self.probe.bias))

    def step(self, with_alpha: bool) -> Probe:
        """One step of w and b, and with the same gradient of the logits one of α."""
        now, (rate, alpha_rate) = self.probe, self._steps
        gradient = self.gradient(now)
        weight: Floats = self._momentum[0] * MOMENTUM + gradient.T @ self._x
        bias: Floats = self._momentum[1] * MOMENTUM + gradient.sum(0)
        self._momentum = weight, bias
        alpha = now.alpha - (gradient * self._cosines).sum(0) * alpha_rate if with_alpha else now.alpha
        self.probe = Probe(now.weight - weight * rate, now.bias - bias * rate, alpha, now.text)
        return self.probe

    def gradient(self, probe: Probe) -> Floats:
        """Of the mean cross-entropy by the logits `(N, K)`."""
        logits = probe(self._x)
        logits -= logits.max(axis=1, keepdims=True)
        probability = np.exp(logits.clip(LOWEST, out=logits), out=logits)
        probability /= probability.sum(axis=1, keepdims=True)
        return (probability - self._labels) / np.float32(len(self._x))


def step_sizes(x: Floats, cosines: Floats) -> tuple[np.float32, np.float32]:
    """Of w and b, and of α: the inverse of bounds on the curvature of the cross-entropy in either block."""
    wide = x.astype(np.float64)
    gram = wide.T @ wide if len(x) > x.shape[1] else wide @ wide.T  # both have the eigenvalues that are not 0
    largest = np.linalg.eigvalsh(gram)[-1]
    return np.float32(4 * len(x) / largest), np.float32(len(x) / (4 * (cosines**2).sum(0).max()))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [LPPlusPlus]
