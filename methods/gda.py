"""GDA: Gaussian discriminant analysis of the labelled images beside the zero-shot classifier, in closed form."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from methods import Array, Facts, GridMethod, Method, Param, Replica, Support, Task, hookimpl
from methods.contract.base import Floats
from methods.contract.discriminant import centred, discriminant, linear
from methods.contract.per_queries import PerQueries

ONE_IMAGE = "no two images differ within a class, so there is no covariance: the same as zero-shot"


class GaussianDiscriminant(GridMethod):
    """`s f T^T + α (f W^T + b)` with `W = μ Σ⁻¹` and `b_k = log(1/K) − μ_k Σ⁻¹ μ_k^T / 2`.

    μ are the class means. All classes share one covariance, S / (M − 1) or S / (M − K) with S the scatter of the M
    images around their class means.

    `recipe: paper` takes `Σ⁻¹ = D · pinv((M − 1) Cov + tr(Cov) I)`, which shrinks as 1 / M: with many images the
    discriminant is not heard, and with two of a class, whose means are mostly noise, it drowns a good text. Ours, the
    default, is the same estimate with every factor that the data give: `Σ⁻¹ = (M − K + D) (S + tr(C) I)⁻¹` with
    `C = S / (M − K)`, which is the inverse of C shrunk by D images' worth of an even spread and tends to `C⁻¹`; means
    drawn to their common mean by `B = 1 − tr(C) mean(1 / N_k) / V`, the share of their variance V between classes that
    is not the noise of few images; and the weight `α B (1 − K / M)`. It is zero-shot at one image a class, and
    tends to α.
    """

    name = "gda"
    paper = "arXiv:2402.04087"
    departs = "α of each dataset, chosen on val; augmented views as samples, unless `views: true`"
    facts = Facts(
        year=2024,
        formula="s f T^T + α (f W^T + b), W = μ Σ⁻¹",
        training="none: a closed form",
        learned="0",
        fit="2 * N * D**2 + 2 * D**3 / 3 + 2 * D**2 * K",
        memory="4 * D**2 + 4 * D * K",
        use="From 4 shots on: the best closed form with many images.",
        fails=(
            "With one image of each class there is no covariance, and it is zero-shot. `recipe: paper` shrinks "
            "as 1 / N."
        ),
    )
    params = {
        "alpha": Param(1.0, "weight α of the discriminant beside the zero-shot logits", low=0),
        "recipe": Param(
            "ours", "our estimate, which serves any number of shots, or the paper's", choices=("ours", "paper")
        ),
        "views": Param(False, "take every augmented view of an image as a sample of its own, in place of the image"),
    }
    grid = {"alpha": np.geomspace(1e-4, 100, 49).tolist()}

    def prepare(self, task: Task, replica: Replica) -> Callable[..., Array]:
        support, text = samples(task, replica), task.class_text()
        if replica.params["recipe"] == "paper":
            weight, bias, share = *discriminant(support, task.classes), 1.0
        else:
            weight, bias, share = shrunk(support, task.classes, images(task, replica))
        zero_shot = PerQueries(lambda queries: task.logit_scale * queries @ text.T)
        scores = PerQueries(lambda queries: queries @ weight.T + bias)
        return lambda queries, alpha: zero_shot(queries) + alpha * share * scores(queries)

    def note(self, task: Task, replica: Replica) -> str:
        return "" if centred(samples(task, replica), task.classes)[1].any() else ONE_IMAGE


def samples(task: Task, replica: Replica) -> Support:
    """What the means and the covariance are of: images, or all views of them."""
    support = task.supports[replica.seed]
    return support.every_view() if replica.params["views"] else support


def images(task: Task, replica: Replica) -> NDArray[np.float64]:
    """How many images each class has `(K,)`; views of one image don't make its mean surer."""
    return np.bincount(task.supports[replica.seed].y, minlength=task.classes).clip(1).astype(np.float64)


def shrunk(support: Support, classes: int, images: NDArray[np.float64]) -> tuple[Floats, Floats, float]:
    """Our `W (K, D)` and `b (K,)`, and the share of α that they get, from the number of images of each class."""
    means, rest = centred(support, classes)
    scatter, freedom = rest.T @ rest, max(1, len(rest) - classes)
    trace, centre = np.trace(scatter) / freedom, means.mean(0)
    between = ((means - centre) ** 2).sum() / max(1, classes - 1)
    sure = max(0.0, 1 - trace * (1 / images).mean() / between) if between else 0.0
    weight, bias = linear(centre + sure * (means - centre), scatter, trace, freedom + len(scatter))
    return weight, bias, sure * max(0.0, 1 - classes / len(rest))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [GaussianDiscriminant]
