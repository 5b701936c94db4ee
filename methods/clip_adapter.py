"""CLIP-Adapter: a bottleneck on the image embedding, mixed back in, classified by the cosine to the class texts."""

from collections.abc import Mapping
from typing import Any

from methods import Array, Method, Param, Params, Replica, Task, TrainedMethod, hookimpl, training

PAPER = {"ratio": 0.2, "lr": 1e-5, "epochs": 200}  # section 4.1 of the paper; its schedule is CoOp's
TINY = 1e-12  # a zero vector's logits are zero


class ClipAdapter(TrainedMethod):
    """`s ẑ T^T` with `z = (1 − r) x + r ReLU(W₂ ReLU(W₁ x))` and `x = BN(f)`.

    The starting study's recipe normalises the embedding and puts a BatchNorm before the bottleneck. The paper's
    takes the embedding as it is and has no BatchNorm.
    """

    name = "clip_adapter"
    paper = "arXiv:2110.04544"
    params = {
        "ratio": Param(0.2, "share r of the adapted embedding in the mixture", low=0, high=1),
        "recipe": Param("study", "the starting study's head, or the paper's", choices=("study", "paper")),
        "reduction": Param(4, "how many times narrower the bottleneck is", low=1),
        **training(lr=1e-4, epochs=400),
    }
    scalars = ("ratio",)

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    @classmethod
    def defaults(cls, settings: Params) -> dict[str, Any]:
        return super().defaults(settings) | (PAPER if settings.get("recipe") == "paper" else {})

    def raw(self, params: Params) -> bool:
        return bool(params["recipe"] == "paper")

    def head(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        narrow = max(1, task.dim // replica.params["reduction"])
        return {
            "norm": nn.Identity() if self.raw(replica.params) else nn.BatchNorm1d(task.dim),
            "down": nn.Linear(task.dim, narrow, bias=False),
            "up": nn.Linear(narrow, task.dim, bias=False),
            "text": task.logit_scale * task.class_text(),
        }

    def logits(self, head: Any, x: Array) -> Array:
        x = head.norm(x)
        mixed = x.lerp(head.up(head.down(x).relu()).relu(), head.ratio)
        return mixed @ head.text.mT / mixed.norm(dim=-1, keepdim=True).clamp_min(TINY)


@hookimpl
def register_methods() -> list[type[Method]]:
    return [ClipAdapter]
