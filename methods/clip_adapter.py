"""CLIP-Adapter: a bottleneck on the image embedding, mixed back in, classified by the cosine to the class texts."""

from collections.abc import Callable, Mapping
from typing import Any

from methods import (
    Array,
    Facts,
    Method,
    Param,
    Params,
    Recipe,
    Replica,
    Task,
    TrainedMethod,
    by_hand,
    hookimpl,
    training,
)
from methods.contract import shots

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {"ratio": 0.2, "lr": 1e-5, "epochs": 200},
    "coop": {"ratio": 0.2, "lr": 2e-3, "weight_decay": 5e-4, "epochs": 0},
}


class ClipAdapter(TrainedMethod):
    """`s ẑ T^T` with `z = (1 − r) x + r ReLU(W₂ ReLU(W₁ x))` and `x = BN(f)`.

    `recipe: study` is the starting study's: a BatchNorm of the unit embedding before the bottleneck, AdamW. `paper` has
    no BatchNorm (the length of f cancels), and the paper's rate and batches; AdamW, its decay, 200 epochs and one r for
    all datasets are ours, since the paper names none. `coop` is that head as its official code trains it: SGD, an epoch
    at 1e-5 and then half a cosine, over 50, 100 or 200 epochs for 1, 2 to 4 or more shots.

    The BatchNorm of `study` takes off what all images share and the texts do not know of it: before anything is learned
    that alone can cost accuracy, so where zero-shot's is better with it off, take `coop`. The other two start near
    zero-shot and move little; where the text is poor they may lose a point of it with many images.
    """

    name = "clip_adapter"
    paper = "arXiv:2110.04544"
    departs = "a fresh crop of each image in every epoch; r of each dataset, chosen on the reported split"
    facts = Facts(
        year=2021,
        formula="s ẑ T^T, z = (1 − r) x + r ReLU(W₂ ReLU(W₁ x))",
        training="AdamW, 400 epochs",
        learned="2 * D + D**2 / 2",
        fit="E * N * (3 * D**2 + 4 * D * K)",
        memory="8 * D + 2 * D**2",
        use="With few images and a good text; the number of classes does not change its size.",
        fails=(
            "Where the text is poor: a small share r can't leave it, and with `recipe: study` BatchNorm costs accuracy "
            "before anything is learned, so that it is below zero-shot on the quickstart's planes. Its number of "
            "weights grows as D², so one image of each class overfits at high rates."
        ),
        passes=400,
    )
    params = {
        "ratio": Param(0.2, "share r of the adapted embedding in the mixture", low=0, high=1),
        "recipe": Param("study", "the starting study's, the paper's or CoOp's", choices=("study", "paper", "coop")),
        "reduction": Param(4, "how many times narrower the bottleneck is", low=1),
        **training(lr=1e-4, epochs=400),
        "epochs": Param(400, "passes over the support; 0 takes 50, 100 or 200 for 1, 2 to 4 or more shots", low=0),
    }
    compiled = "adapter"
    scalars = ("ratio",)

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    @classmethod
    def defaults(cls, settings: Params) -> dict[str, Any]:
        return super().defaults(settings) | RECIPES.get(settings.get("recipe", ""), {})

    def raw(self, params: Params) -> bool:
        return bool(params["recipe"] != "study")

    def recipe(self, task: Task, params: Params) -> Recipe:
        lr, decay, batch_size = params["lr"], params["weight_decay"], params["batch_size"]
        epochs = params["epochs"] or shots.coop_epochs(task)
        if params["recipe"] != "coop":
            return Recipe("adamw", lr, decay, epochs, batch_size)
        return Recipe(
            "sgd", lr, decay, epochs, batch_size, schedule="epoch cosine", momentum=0.9, warmup_epochs=1, warmup_lr=1e-5
        )

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
        return mixed @ head.text.mT / by_hand.length(mixed)

    # --- Written out by hand: the same numbers as `logits`, faster ---

    def vjp(self, head: Any, x: Array) -> tuple[Array, by_hand.Pullback]:
        x, pull_norm = head.norm.vjp(x)
        narrow, pull_down = head.down.vjp(x)
        wide, pull_up = head.up.vjp(narrow.relu_())
        mixed = x.lerp(wide.relu_(), head.ratio)
        length = by_hand.length(mixed)
        logits = (mixed @ head.text.mT).div_(length)

        def pull(gradient: Array) -> Mapping[str, Array]:
            radial = (gradient * logits).sum(-1, keepdim=True).div_(length * length)
            for_mixed = ((gradient / length) @ head.text).addcmul_(mixed, radial, value=-1)
            share = for_mixed * head.ratio
            for_narrow, for_up = pull_up(wide.sign().mul_(share))
            through, for_down = pull_down(for_narrow.mul_(narrow.sign()), inputs=bool(head.norm.weights))
            found = by_hand.named("up", for_up) | by_hand.named("down", for_down)
            if not head.norm.weights:
                return found
            _, for_norm = pull_norm(for_mixed.sub_(share).add_(through), False, type(self) is ClipAdapter)
            return found | by_hand.named("norm", for_norm)

        return logits, pull

    def folded(self, head: Any) -> Callable[[Array], Array]:
        import torch

        down, _ = head.down.affine()
        up, _ = head.up.affine()
        offset, shift, factor = torch.zeros_like(down[:, :1]), 0.0, 1 - head.ratio
        if head.norm.weights:
            factor, shift = head.norm.affine()
            down, offset = down * factor.mT, shift @ down
            factor, shift = (1 - head.ratio) * factor, (1 - head.ratio) * shift
        up = head.ratio * up  # the ratio is not negative: relu lets it through
        first = by_hand.shared_product(down, offset)

        def classify(x: Array) -> Array:
            mixed = torch.bmm(first(x).relu_(), up).relu_().addcmul_(x, factor).add_(shift)
            return (mixed @ head.text.mT).div_(by_hand.length(mixed))

        return classify


@hookimpl
def register_methods() -> list[type[Method]]:
    return [ClipAdapter]
