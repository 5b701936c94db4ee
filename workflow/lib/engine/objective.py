"""What is made small: each replica's mean cross-entropy, or a loss of the method's own, and a penalty."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.contract.base import Array
from methods.contract.recipe import Recipe
from workflow.lib.engine import kernels
from workflow.lib.engine.heads import Head
from workflow.lib.engine.mixup import Mixed
from workflow.lib.engine.stacking import Late
from workflow.lib.jobs.memory import is_out_of_memory
from workflow.lib.jobs.precision import learning_in

Labels = Tensor | Mixed  # (R, B)


class Objective:
    """The loss of R replicas on a batch, with its gradients. Where the cross-entropy is all, by hand if possible."""

    def __init__(self, head: Head, recipe: Recipe, per_epoch: int) -> None:
        self._head, self._smoothing, self._precision = head, recipe.label_smoothing, recipe.precision
        self._own = head.own_loss
        self.of_images = True  # whether the loss is a mean over images, as far as is known
        soft = bool(recipe.label_smoothing or recipe.mixup)
        entropy = partial(soft_cross_entropy, smoothing=self._smoothing) if soft else cross_entropy
        self._entropy: Callable[[Tensor, Any], tuple[Tensor, Array]] = entropy
        self._likely: deque[Array] = deque(maxlen=per_epoch)  # e^−loss of each image in the last steps, (R, B)
        self._losses: deque[Tensor] = deque(maxlen=per_epoch)  # or the losses of the replicas, (R,)

    def gradients(self, x: Tensor, y: Labels) -> list[Tensor | Late]:
        """Of the weights, in their order."""
        by_hand = None if self._own else self._head.vjp(x)
        if by_hand is None:
            with learning_in(self._precision, x.device.type):
                return self._derived(x, y)
        logits, pull = by_hand
        found = pull(self._for_logits(logits, y))
        return [found[name] for name in self._head.weights]

    @torch.enable_grad()
    def _derived(self, x: Tensor, y: Labels) -> list[Tensor | Late]:
        """By autograd. Raises ValueError that names the weights on which nothing depends."""
        outputs, seeds = self._outputs(x, y)
        weights = list(self._head.weights.values())
        try:
            return list(torch.autograd.grad(outputs, weights, seeds))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            outputs, seeds = self._outputs(x, y)
            found = torch.autograd.grad(outputs, weights, seeds, allow_unused=True)
            idle = [name for name, gradient in zip(self._head.weights, found, strict=True) if gradient is None]
            if not idle:
                raise
            names = ", ".join(idle)
        raise ValueError(f"nothing that is trained on depends on {names}: leave it out, or make it a constant")

    def _outputs(self, x: Tensor, y: Labels) -> tuple[list[Tensor], list[Tensor]]:
        """What depends on the weights, and the gradients of the loss by it: logits where the cross-entropy is all, for
        its gradient is written out, and the value of a loss of the method's own, which may use weights directly.
        """
        if self._own:
            value = self.value(x, y)
            return [value], [torch.ones_like(value)]
        logits, penalty = self._head(x), self._head.penalty()
        outputs, seeds = [logits], [self._for_logits(logits.detach(), y)]
        return (outputs, seeds) if penalty is None else ([logits, penalty], [*seeds, torch.ones_like(penalty)])

    def _for_logits(self, logits: Tensor, y: Labels) -> Tensor:
        """The gradient of the mean cross-entropy; the loss itself is kept for the log."""
        gradient, likely = self._entropy(logits, y)
        self._likely.append(likely)
        return gradient

    def value(self, x: Tensor, y: Labels) -> Tensor:
        """The loss itself, `(R,)`, for autograd."""
        logits, penalty = self._head(x), self._head.penalty()
        value = self._mixed(logits, y, x) if isinstance(y, Mixed) else self._one(logits, y, x)
        self._losses.append(value.detach())
        return value if penalty is None else value + penalty

    def _mixed(self, logits: Tensor, y: Mixed, x: Tensor) -> Tensor:
        first, second = (share[:, 0] * self._one(logits, labels, x) for share, labels in y.weighted())
        return first + second

    def _one(self, logits: Tensor, labels: Tensor, x: Tensor) -> Tensor:
        """The method's own loss, or the cross-entropy where it has none."""
        value = self._head.loss(logits, labels, x) if self._own else None
        self.of_images = value is None
        if value is None:
            return -(target(labels, logits.detach(), self._smoothing) * logits.log_softmax(-1)).sum(-1).mean(-1)
        if self._smoothing:
            raise ValueError("label smoothing belongs to the cross-entropy, and this method has a loss of its own")
        if value.shape != logits.shape[:1]:
            asked = f"a number for each of the {len(logits)} replicas"
            raise ValueError(f"`loss` has to give {asked}, {tuple(logits.shape[:1])}; found {tuple(value.shape)}")
        return value

    def seen(self, likely: Array) -> None:
        """An epoch has been trained elsewhere: p(label) of its samples, `(R, n)`."""
        self._likely.clear()
        self._likely.append(likely)

    def latest(self) -> float:
        """The mean loss over the last epoch, without the penalty. Reading it waits for the device."""
        if self._losses:
            return torch.stack(list(self._losses)).mean().item()
        return -torch.cat([torch.as_tensor(own) for own in self._likely], 1).clamp_min(1e-38).log().mean().item()


def soft_cross_entropy(logits: Tensor, labels: Labels, smoothing: float) -> tuple[Tensor, Array]:
    """`cross_entropy` with labels that are mixed or less than 1; for `p(label)` comes e^−loss."""
    log = logits.log_softmax(-1)
    wanted = target(labels, log, smoothing)
    return (log.exp() - wanted).mul_(1 / log.shape[1]), (wanted * log).sum(-1).exp()


def target(labels: Labels, like: Tensor, smoothing: float) -> Tensor:
    """What the probabilities `(R, B, K)` should be: 1 at the label less what all classes share, or a mixture of two."""
    if isinstance(labels, Mixed):
        first, second = (share[..., None] * target(one, like, smoothing) for share, one in labels.weighted())
        return first + second
    even = torch.full_like(like, smoothing / like.shape[-1])
    return even.scatter_add_(-1, labels[..., None], torch.full_like(like[..., :1], 1 - smoothing))


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Array]:
    """Of logits `(R, B, K)` and labels `(R, B)`: the gradient of each replica's mean cross-entropy, and `p(label)`."""
    turned = not logits.is_contiguous() and logits.mT.is_contiguous()  # as they lie in memory: a copy costs as much
    gradient = logits.mT.softmax(1).mT if turned else logits.softmax(-1)
    if kernels.fit(gradient):
        own = np.empty(labels.shape, np.float32)
        kernels.cross_entropy(*kernels.arrays(gradient.mT if turned else gradient, labels), own, turned)
        return gradient, own
    column = labels[..., None]
    picked = gradient.gather(-1, column)
    gradient.scatter_add_(-1, column, torch.full_like(picked, -1.0))
    return gradient.mul_(1 / labels.shape[1]), picked[..., 0]
