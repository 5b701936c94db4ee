"""Methods on cached features as people write them, to be measured beside ours: one fit with one setting at a time."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.nn import functional

from methods import Task, unit
from methods.contract.base import Floats

Logits = NDArray[np.floating]


def nearest_mean(task: Task, queries: Floats) -> Logits:
    """Class after class."""
    support = task.supports[0]
    means = [support.x[support.y == k].mean(0) for k in range(task.classes)]
    return np.stack([task.logit_scale * queries @ mean / np.linalg.norm(mean) for mean in means], 1)


def knn(task: Task, queries: Floats) -> Logits:
    """scikit-learn's votes."""
    support = task.supports[0]
    return KNeighborsClassifier(5).fit(support.x, support.y).predict_proba(queries)


def ridge(task: Task, queries: Floats) -> Logits:
    """scikit-learn's scores."""
    support = task.supports[0]
    return RidgeClassifier(alpha=1.0).fit(support.x, support.y).decision_function(queries)


def gda(task: Task, queries: Floats) -> Logits:
    """The published formula, with the covariance and the pseudo-inverse that it names."""
    support = task.supports[0]
    return task.logit_scale * queries @ task.class_text().T + _discriminant(support.x, support.y, queries, task.classes)


def timo(task: Task, queries: Floats) -> Logits:
    """Class after class, with γ = 50 and α = 1."""
    support, each = task.supports[0], task.each_text()
    texts, samples, labels = [], [support.x], [support.y]
    for k, prompts in enumerate(each):
        fits = prompts @ unit(support.x[support.y == k].mean(0))
        weights = softmax(50 * fits / np.linalg.norm(fits))
        texts.append(unit(weights @ prompts))
        samples.append(fits[:, None] * prompts)
        labels.append(np.full(len(prompts), k))
    scores = _discriminant(np.concatenate(samples), np.concatenate(labels), queries, task.classes)
    return queries @ np.stack(texts).T + scores


def _discriminant(x: Floats, y: NDArray[np.int64], queries: Floats, classes: int) -> Logits:
    means = np.stack([x[y == k].mean(0) for k in range(classes)])
    cov = np.cov((x - means[y]).T)
    precision = len(cov) * np.linalg.pinv((len(x) - 1) * cov + np.trace(cov) * np.eye(len(cov)), hermitian=True)
    weight = means @ precision
    return queries @ weight.T + np.log(1 / classes) - (weight * means).sum(1) / 2


def calip(task: Task, queries: Floats) -> Logits:
    """With β₂ = 1.12 and β₃ = 0.02."""
    image, first, second = task.tokens_apart(queries)
    return task.logit_scale * image @ task.class_text().T + 1.12 * first + 0.02 * second


def prompt_ensemble(task: Task, queries: Floats) -> Logits:
    """The logits of all prompts at once, and the mean of their probabilities."""
    each = task.each_text()
    scores = queries @ each.reshape(-1, each.shape[-1]).T
    shares = softmax(task.logit_scale * scores.reshape(len(queries), *each.shape[:2]), axis=1)
    return np.log(shares.mean(2))


ANSWERS: Mapping[str, Callable[[Task, Floats], Logits]] = {
    one.__name__: one for one in (nearest_mean, knn, ridge, gda, timo, calip, prompt_ensemble)
}


def lfa_steps(task: Task, epochs: int) -> Tensor:
    """W `(D, D)` after so many steps of `lfa` from the identity: autograd, and all distances sorted."""
    support, text = task.supports[0], torch.from_numpy(task.class_text())
    x, y = torch.from_numpy(support.x), torch.from_numpy(support.y)
    weight = torch.eye(x.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=5e-4, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        distance = torch.cdist(functional.normalize(x @ weight, dim=1), text)
        own = distance.gather(1, y[:, None])
        wrong = distance.scatter(1, y[:, None], torch.inf)
        near, which = (part[:, :3] for part in wrong.sort(1))
        margin = (1 - (text[which] * text[y][:, None]).sum(-1)) / 4
        loss = (own + margin - near).relu().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        schedule.step()
    return weight.detach()


def lfa_share(task: Task, share: float, rng: np.random.Generator) -> float:
    """How often `lfa` is right with one share b, in three splits with a decomposition for each."""
    support, text, right = task.supports[0], task.class_text(), 0.0
    for _ in range(3):
        out, rest = np.split(rng.permutation(len(support.y)), [round(0.2 * len(support.y))])
        left, _, turned = np.linalg.svd(support.x[rest].T.astype(float) @ text[support.y[rest]])
        weight = (1 - share) * left @ turned + share * np.eye(len(left))
        right += float(((unit(support.x[out] @ weight) @ text.T).argmax(1) == support.y[out]).mean()) / 3
    return right
