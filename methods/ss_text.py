"""SS-Text: a linear classifier in closed form, from the class texts and the labelled images."""

from typing import Any

import numpy as np

from methods import Classifier, Facts, Method, Param, Params, Replica, Support, Task, hookimpl, unit
from methods.contract.base import Floats

MOST = 1e3  # an image's weight where the images have no noise or the text tells nothing: the text is not heard
TINY = 1e-9


class SSText(Method):
    """`s f ŵ_k^T` with `v_k = t_k + c_k Σ_{y=k} f`: the text of a class plus its images.

    `recipe: paper` has `c_k = s N_k / N` and, with `repel`, `w_k = v_k − unit(2 v_k − mean_j v_j)`; else w = v. Its v
    minimises `−(s / N) Σ_i f_i v_{y_i}^T + Σ_k ‖v_k − t_k‖² / (2 N_k)`, the part of a penalised cross-entropy that is
    linear in the logits. It fits 100 classes at s = 100, where c_k is 1: with few classes one image of each outweighs
    a good text, and with a small s what `repel` takes off turns a class's own part round: the accuracy falls to 0.

    Ours, the default, takes c from the support, the same for all classes. With a text `t = g + noise of variance η` and
    an image `f = a g + noise of variance σ²` the best estimate of g is along `t + (a η / σ²) Σ f`. Around their means
    over classes, C is the mean product of an image and its text, `V_t` the variance of the texts, `V_b` that of the
    class means less `σ² mean(1 / N_k)`; then `a = V_b / C`, `η = V_t − C² / V_b`, σ² is the variance within classes.
    With one image of each class there is no σ²: a = 1, `η = V_t − C`, and what is left of the images' variance.
    """

    name = "ss_text"
    paper = "arXiv:2506.17500"
    departs = "nothing, with `recipe: paper`"
    facts = Facts(
        year=2025,
        formula="s f ŵ_k^T, w_k = t_k + c_k Σ_{y=k} f",
        training="none: a closed form",
        learned="0",
        fit="2 * N * D * K",
        memory="2 * D * K",
        use="With unbalanced or very few images, in milliseconds.",
        fails=(
            "With many images: it is a class mean and knows no covariance. `recipe: paper` with few classes or "
            "a small s."
        ),
    )
    params = {
        "recipe": Param("ours", "weights of the images from the support, or the paper's", choices=("ours", "paper")),
        "repel": Param(False, "take unit(2 v_k − mean_j v_j) off each weight; true by default in the paper's recipe"),
    }

    @classmethod
    def defaults(cls, settings: Params) -> dict[str, Any]:
        return super().defaults(settings) | {"repel": settings.get("recipe") == "paper"}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support, text = task.supports[replica.seed], task.class_text()
        published = replica.params["recipe"] == "paper"
        blend = blended(support, text, task.logit_scale) if published else balanced(support, text)
        weight = unit(repelled(blend) if replica.params["repel"] else blend)
        return lambda queries: task.logit_scale * queries @ weight.T


def blended(support: Support, text: Floats, scale: float) -> Floats:
    """The paper's v `(K, D)`, not unit."""
    one_hot = support.one_hot(len(text))
    share = (scale * one_hot.sum(0) / len(support.y)).astype(np.float32)
    return text + share[:, None] * (one_hot.T @ support.x)


def balanced(support: Support, text: Floats) -> Floats:
    """Our v `(K, D)`, not unit."""
    return text + np.float32(image_weight(support, text)) * (support.one_hot(len(text)).T @ support.x)


def image_weight(support: Support, text: Floats) -> float:
    """c: what an image counts beside the text of its class, from 0 to MOST."""
    x, texts, classes = support.x.astype(np.float64), text.astype(np.float64), len(text)
    one_hot = support.one_hot(classes).astype(np.float64)
    images = one_hot.sum(0).clip(1)
    means = one_hot.T @ x / images[:, None]
    off = texts - texts.mean(0)
    freed = classes / max(1, classes - 1)  # for the means that were taken off
    shared = ((x - x.mean(0)) * off[support.y]).sum(1).mean() * freed
    of_text = (off**2).sum(1).mean() * freed
    if len(x) <= classes:
        within, gain, text_noise = x.var(0).sum() * freed - shared, 1.0, of_text - shared
    else:
        within = ((x - means[support.y]) ** 2).sum() / (len(x) - classes)
        between = means.var(0).sum() * freed - within * (1 / images).mean()
        if between <= 0:  # the classes' images don't differ more than noise makes them
            return 0.0
        gain, text_noise = between / max(shared, TINY), of_text - shared**2 / between
    return float(np.clip(gain * text_noise / max(within, TINY), 0, MOST))


def repelled(blend: Floats) -> Floats:
    """`v_k − unit(2 v_k − mean_j v_j)`, `(K, D)`."""
    moved: Floats = blend - unit(2 * blend - blend.mean(0))
    return moved


@hookimpl
def register_methods() -> list[type[Method]]:
    return [SSText]
