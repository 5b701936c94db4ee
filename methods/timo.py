"""TIMO: image and text guide each other; prompts are weighed by the images, and stand beside them as samples."""

from collections.abc import Callable

import numpy as np

from methods import Array, Facts, GridMethod, Method, Param, Params, Replica, Support, Task, hookimpl, unit
from methods.contract.base import Floats
from methods.contract.discriminant import discriminant
from methods.contract.per_queries import PerQueries


class TextImageMutualGuidance(GridMethod):
    """`α f T'^T + f W^T + b`, from the unit prompts `t_kp` of each class, p of P, and its mean image.

    `m_kp = cos(t_kp, μ_k)` says how well a prompt fits the images of its class. Text guided by images:
    `t'_k = unit(Σ_p softmax_p(γ m_k / ‖m_k‖) t_kp)`. Images guided by text: the P vectors `m_kp t_kp` of a class are
    further samples of it, and `gda`'s published estimate on all of them gives W and b. With γ = 0 T' is the class
    text.

    The text's term is of cosines, without s: at α = 1 the discriminant, which has the prompts among its samples,
    decides nearly alone, and zero-shot is near α = s.
    """

    name = "timo"
    paper = "arXiv:2412.11375"
    departs = (
        "α of each dataset, chosen on val; γ = 1 for ImageNet and 100 for Flowers102; prompts written by a language "
        "model; TIMO-S, which searches γ and the number of prompts too"
    )
    facts = Facts(
        year=2024,
        formula="α f T'^T + f W^T + b, W = μ Σ⁻¹ of images and prompts",
        training="none: a closed form",
        learned="0",
        fit="2 * K * P * D + 2 * (N + K * P) * D**2 + 2 * D**3 / 3 + 2 * D**2 * K",
        memory="4 * D**2 + (N + K * P) * D",
        use="From one shot on, where each class has several prompts that say different things.",
        fails=(
            "Two or three templates that hardly differ leave nothing to weigh. At α = 1 a very good text is hardly "
            "heard beside a few images that are poor."
        ),
    )
    params = {
        "gamma": Param(50.0, "how sharply the prompts that fit the images are preferred", low=0),
        "alpha": Param(1.0, "weight α of the guided text beside the discriminant", low=0),
    }
    grid = {"gamma": [5.0, 10.0, 20.0, 30.0, 50.0, 70.0, 100.0], "alpha": np.geomspace(1e-4, 1e4, 33).tolist()}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "text_each"})

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        support, each = task.supports[replica.seed], task.each_text()
        fits = matches(support, each)
        weight, bias = discriminant(joint(support, each, fits), task.classes)
        text = PerQueries(lambda queries, gamma: queries @ guided(each, fits, gamma).T)
        scores = PerQueries(lambda queries: queries @ weight.T + bias)
        return lambda queries, gamma, alpha: alpha * text(queries, gamma) + scores(queries)


def matches(support: Support, each: Floats) -> Floats:
    """m `(K, P)`: the cosine of each prompt to the mean image of its class; 0 in a class without images."""
    means = unit(support.one_hot(len(each)).T @ support.x)  # a sum has the mean's direction
    found: Floats = np.einsum("kpd,kd->kp", each, means)
    return found


def guided(each: Floats, fits: Floats, gamma: float) -> Floats:
    """T' `(K, D)`: the prompts of each class, weighed by how they fit its images."""
    sharp = np.float32(gamma) * unit(fits)
    powers = np.exp(sharp - sharp.max(1, keepdims=True))
    weights = powers / powers.sum(1, keepdims=True)
    found: Floats = unit(np.einsum("kp,kpd->kd", weights, each))
    return found


def joint(support: Support, each: Floats, fits: Floats) -> Support:
    """The images, and each prompt times its m as a further sample of its class: `(N + K P, D)`."""
    classes, prompts, dim = each.shape
    samples = (fits[..., None] * each).reshape(classes * prompts, dim)
    labels = np.repeat(np.arange(classes), prompts)
    return Support(np.concatenate([support.x, samples]), np.concatenate([support.y, labels]))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [TextImageMutualGuidance]
