"""A linear probe on an image embedding that has been mixed with the class texts it attends to."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Method, Param, Params, Replica, Task, TrainedMethod, hookimpl, training


class AttentionProbe(TrainedMethod):
    """`W BN₃((1 − r) x + r a) + b` with `x = BN₁(f)`, `t = BN₂(T)` and `a = softmax(x t^T / √D) t`.

    The attention has no parameters of its own. BN₂ sees the K class texts as its batch at every step.
    """

    name = "attention_probe"
    random_per_class = True
    params = {
        "ratio": Param(0.4, "share r of the attended text in the mixture", low=0, high=1),
        "pre_norm": Param(True, "BatchNorm of image and text before the attention (BN₁ and BN₂)"),
        "post_norm": Param(True, "BatchNorm of the mixture (BN₃)"),
        **training(lr=1e-4, epochs=400),
    }
    scalars = ("ratio",)

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        def norm(name: str) -> Any:
            return nn.BatchNorm1d(task.dim) if replica.params[name] else nn.Identity()

        return {
            "image_norm": norm("pre_norm"),
            "text_norm": norm("pre_norm"),
            "classifier": nn.Sequential(norm("post_norm"), nn.Linear(task.dim, task.classes)),
            "text": task.class_text(),
        }

    def logits(self, head: Any, x: Array) -> Array:
        x, text = head.image_norm(x), head.text_norm(head.text)
        attended = (x @ (text.mT / x.shape[-1] ** 0.5)).softmax(-1) @ text
        return head.classifier(x.lerp(attended, head.ratio))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [AttentionProbe]
