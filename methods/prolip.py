"""ProLIP: the image tower's last projection, fine-tuned and held to where it was."""

from methods import Facts, Method, Params, Task, hookimpl
from methods.contract.base import Floats
from methods.contract.projected import ProjectedMethod


class ProLIP(ProjectedMethod):
    """`s unit(x W + b) T^T`, trained by cross-entropy `+ λ Σ (W − W₀)²`; x is the image before the last projection.

    W `(D', D)` begins at the model's own projection W₀, which is zero-shot; b, which a ResNet alone has, stays as it
    is. Each step takes the whole support. λ is 1 / n for n shots: many images are trusted more. Where the protocol
    chooses, rate and λ come from the paper's grid, 49 trainings side by side.
    """

    name = "prolip"
    departs = "a fresh crop of each image in every epoch, unless `views: true` has them"
    facts = Facts(
        year=2024,
        formula="s unit(x W + b) T^T, cross-entropy + λ Σ (W − W₀)²",
        training="Adam, 300 epochs",
        learned="Dp * D",
        fit="E * N * (4 * Dp * D + 4 * D * K)",
        memory="5 * Dp * D + N * (Dp + 2 * D)",
        use="From one shot on, where the features have `pre` and the text is good; it needs no validation set.",
        fails="Where the text is poor: all classes share one map, and λ holds it to the model's own. With s far below"
        " 100, λ outweighs what is learned: on `planes` with `nano` it stays a little below zero-shot.",
        passes=300,
    )

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "pre"} | ({"views"} if params["views"] else set()))

    def start(self, task: Task) -> tuple[Floats, Floats]:
        layer = task.last_layer()
        return layer.weight, layer.bias


@hookimpl
def register_methods() -> list[type[Method]]:
    return [ProLIP]
