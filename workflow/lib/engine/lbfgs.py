"""L-BFGS on the whole support, with PyTorch's line search. Each replica searches on its own, so they train in turn."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from methods.contract.recipe import Recipe
from workflow.lib.engine.noise import Noise

HISTORY = 10  # pairs of steps and gradients that stand for the curvature
LOOKS = 26  # at the loss in one iteration; left to itself PyTorch would derive 1 from that, which is no line search


class Lbfgs:
    """Minimises the loss of one replica, plus `weight_decay / 2` times the square of every weight."""

    def __init__(self, weights: Mapping[str, Tensor], recipe: Recipe, noise: Noise) -> None:
        self._weights, self._decay, self._noise = list(weights.values()), recipe.weight_decay, noise
        self._optimizer = torch.optim.LBFGS(
            self._weights,
            recipe.lr,
            max_iter=1,
            max_eval=LOOKS,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )

    def step(self, loss: Callable[[], Tensor]) -> None:
        """One iteration, with as many looks at the loss `(1,)` as its line search takes.

        Raises ValueError where there is more than one replica, and for a loss with random numbers in it.
        """

        def closure() -> float:
            with torch.enable_grad():
                value = loss()
                if len(value) != 1 or self._noise.drawn:
                    raise ValueError("lbfgs minimises one loss at a time, and one without random numbers: no dropout")
                whole = value.sum() + self._decay / 2 * sum(weight.square().sum() for weight in self._weights)
                gradients = torch.autograd.grad(whole, self._weights)
            for weight, gradient in zip(self._weights, gradients, strict=True):
                weight.grad = gradient
            return whole.item()

        self._optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch has no types for it
