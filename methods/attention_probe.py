"""A linear probe on an image embedding that has been mixed with the class texts it attends to."""

from collections.abc import Callable, Mapping
from typing import Any

from methods import Array, Facts, Method, Param, Params, Replica, Task, TrainedMethod, by_hand, hookimpl, training


class AttentionProbe(TrainedMethod):
    """`W BN₃((1 − r) x + r a) + b` with `x = BN₁(f)`, `t = BN₂(T)` and `a = softmax(x t^T / √D) t`.

    The attention has no parameters of its own. BN₂ sees the K class texts as its batch at every step. Its linear layer
    starts at random: at one shot it may be below zero-shot. These are the starting study's settings, so they stay.
    """

    name = "attention_probe"
    departs = "of the starting study's: the best epoch on the reported split, which its numbers were taken from"
    facts = Facts(
        year=2026,
        formula="W BN₃((1 − r) x + r softmax(x t^T / √D) t) + b",
        training="AdamW, 400 epochs",
        learned="6 * D + (D + 1) * K",
        fit="14 * E * N * D * K",
        memory="4 * (6 * D + (D + 1) * K)",
        use="To repeat the starting study.",
        fails="With one image of each class: its linear layer starts at random.",
        passes=400,
    )
    random_per_class = True
    compiled = "attention"
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

    # --- Written out by hand: the same numbers as `logits`, faster ---

    # With t = γ t̂ + β and t̂ the same at every step: x t^T is (γ x) t̂^T but for a term that all classes
    # share, which softmax does not see; and P t is γ (P t̂) + β, since the rows of P sum to one.

    def vjp(self, head: Any, x: Array) -> tuple[Array, by_hand.Pullback]:
        cold = x.shape[-1] ** -0.5
        late = type(self) is AttentionProbe  # a subclass may work with the gradients
        if not head.text_norm.weights:  # nothing before the classifier learns
            attended, _ = _attend(x * cold, head.text)
            logits, pull_classifier = head.classifier.vjp(x.lerp(attended, head.ratio))
            return logits, lambda gradient: by_hand.named("classifier", pull_classifier(gradient, False, late)[1])
        gain, shift = head.text_norm.weight, head.text_norm.bias
        x, pull_image = head.image_norm.vjp(x)
        attended, pull_attention = _attend(x * (gain * cold), head.text_norm.standardised(head.text))
        mixed = x.lerp((attended * gain).add_(shift), head.ratio)
        logits, pull_classifier = head.classifier.vjp(mixed)

        def pull(gradient: Array) -> Mapping[str, Array]:
            for_mixed, for_classifier = pull_classifier(gradient)
            outer = for_mixed * head.ratio
            inner = pull_attention(outer * gain).mul_(cold)
            for_text = {"weight": _sum((outer * attended).addcmul_(inner, x)), "bias": _sum(outer)}
            _, for_image = pull_image(for_mixed.sub_(outer).addcmul_(inner, gain), False, late)
            return (
                by_hand.named("classifier", for_classifier)
                | by_hand.named("text_norm", for_text)
                | by_hand.named("image_norm", for_image)
            )

        return logits, pull

    def folded(self, head: Any) -> Callable[[Array], Array]:
        import torch

        weight, bias = head.classifier.affine()
        text = head.text_norm(head.text)
        keys = (text.mT * text.shape[-1] ** -0.5).expand_as(weight)
        both = torch.cat([keys, weight - head.ratio * weight], -1)
        offset = torch.cat([torch.zeros_like(bias), bias], -1)
        if head.image_norm.weights:
            factor, shift = head.image_norm.affine()
            both, offset = both * factor.mT, offset + shift @ both
        values, first = head.ratio * (text @ weight), by_hand.shared_product(both, offset)

        def classify(x: Array) -> Array:
            scores, direct = first(x).chunk(2, -1)
            return torch.baddbmm(direct, scores.softmax(-1), values)

        return classify


def _sum(x: Array) -> Array:
    """Over the batch: `(R, 1, D)`."""
    return x.sum(1, keepdim=True)


def _attend(x: Array, text: Array) -> tuple[Array, Callable[[Array], Array]]:
    """`softmax(x t^T) t` of `x (R, B, D)` and `t (K, D)`, and how its gradient goes back to x."""
    weights = (x @ text.mT).softmax(-1)

    def pull(gradient: Array) -> Array:
        # Of softmax: P (g − Σ P g)
        scores = (gradient @ text.mT).mul_(weights)
        return scores.addcmul_(weights, scores.sum(-1, keepdim=True), value=-1) @ text

    return weights @ text, pull


@hookimpl
def register_methods() -> list[type[Method]]:
    return [AttentionProbe]
