"""How a head is trained: the recipe that the engine follows, and the parameters that set it."""

from dataclasses import dataclass

from methods.params import Param


@dataclass(frozen=True)
class Recipe:
    """How a head is trained. `batch_size` 0 means the whole support at each step."""

    optimizer: str  # adamw, adam or sgd
    lr: float
    weight_decay: float
    epochs: int
    batch_size: int
    schedule: str = "constant"  # or cosine, over all steps
    warmup: int = 0  # steps over which the learning rate rises linearly
    momentum: float = 0.9  # of SGD
    eps: float = 1e-8  # of Adam and AdamW


def training(lr: float, epochs: int, weight_decay: float = 0.01, batch_size: int = 32) -> dict[str, Param]:
    """The parameters that every trained method has, with this method's defaults."""
    return {
        "lr": Param(lr, "learning rate", above=0),
        "weight_decay": Param(weight_decay, "weight decay", low=0),
        "epochs": Param(epochs, "passes over the support", low=1),
        "batch_size": Param(batch_size, "images per step; 0 takes the whole support", low=0),
    }
