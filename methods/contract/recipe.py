"""How a head is trained: the recipe that the engine follows, and the parameters that set it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from methods.contract.params import Param


@dataclass(frozen=True)
class Recipe:
    """How a head is trained, for so many passes over the support or, where `steps` is set, for so many steps.

    `batch_size` 0 means the whole support at each step. `every` is the number of steps between candidates, 0 one
    per epoch. The rate rises linearly over the first `warmup` steps and `warmup_epochs` epochs, or stays at
    `warmup_lr` during them. `rates` gives parts of the head a rate of their own, as a factor on `lr`:
    `{"alpha": 10.0}`.
    """

    optimizer: str  # adamw, adam or sgd
    lr: float
    weight_decay: float
    epochs: int
    batch_size: int
    schedule: str = "constant"  # or cosine: half a wave from the end of the warm-up to the last step
    warmup: int = 0
    momentum: float = 0.9  # of SGD
    eps: float = 1e-8  # of Adam and AdamW
    steps: int = 0
    every: int = 0
    warmup_epochs: int = 0
    warmup_lr: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)


def training(lr: float, epochs: int, weight_decay: float = 0.01, batch_size: int = 32) -> dict[str, Param]:
    """The parameters that every trained method has, with this method's defaults."""
    return {
        "lr": Param(lr, "learning rate", above=0),
        "weight_decay": Param(weight_decay, "weight decay", low=0),
        "epochs": Param(epochs, "passes over the support", low=1),
        "batch_size": Param(batch_size, "images per step; 0 takes the whole support", low=0),
    }
