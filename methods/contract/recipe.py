"""How a head is trained: the recipe that the engine follows, and the parameters that set it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from methods.contract.params import Param, brief, nearest

OPTIMIZERS = ("adamw", "adam", "sgd", "lbfgs")
SCHEDULES = ("constant", "cosine", "epoch cosine", "linear", "step")
VIEWS = ("", "random", "in_turn")
PRECISIONS = ("fp32", "bf16")
NAMES = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "views": VIEWS, "precision": PRECISIONS}


@dataclass(frozen=True)
class Recipe:
    """How a head is trained, for so many passes over the support or, where `steps` is set, for so many steps.

    `batch_size` 0 means the whole support at each step. `every` is the number of steps between candidates, 0 one
    per epoch. The rate rises linearly over the first `warmup` steps and `warmup_epochs` epochs, or stays at
    `warmup_lr` during them. From there to the last step it is constant, half a wave of a cosine or linear, both down
    to `floor`; or `step`: times `gamma` from each epoch in `milestones` on. `epoch cosine` is half a wave over as many
    epochs as there are, the same within an epoch. `rates` gives parts of the head a rate of their own, as a factor on
    `lr`: `{"alpha": 10.0}`.

    `label_smoothing` gives each label so much less than 1, and all classes an equal share of it. `mixup` mixes each
    batch with itself in another order, λ to 1 − λ, images and losses alike, λ from Beta(mixup, mixup) anew for each
    step (arXiv:1710.09412). `ema` classifies with a moving average of the weights, which keeps so much of itself at
    each step; BatchNorm's statistics are as ever. `views` takes each image by one of its augmented views: a `random`
    one in each epoch, or the next one `in_turn`.

    `precision` is what the towers in the loop run in for a step's gradients: `bf16` takes less time and memory on a
    GPU. What is trained stays float32, and so does all that classifies. Heads on cached features have no towers.

    `lbfgs` is for convex heads: an epoch is one iteration on the whole support, with a line search that begins at
    `lr`, which is best 1. Raises ValueError for names that do not exist, and for what does not go together.
    """

    optimizer: str  # adamw, adam, sgd or lbfgs
    lr: float
    weight_decay: float  # of AdamW apart from the gradient; of the others with it, as w²/2 in the loss would be
    epochs: int
    batch_size: int
    schedule: str = "constant"  # or cosine, epoch cosine, linear or step
    warmup: int = 0
    momentum: float = 0.9  # of SGD
    eps: float = 1e-8  # of Adam and AdamW
    floor: float = 0.0
    steps: int = 0
    every: int = 0
    warmup_epochs: int = 0
    warmup_lr: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    views: str = ""  # or random or in_turn
    precision: str = "fp32"  # or bf16: of the towers, where some are in the loop

    def __post_init__(self) -> None:
        for name, allowed in NAMES.items():
            _one_of(name, getattr(self, name), allowed)
        for name, below in (("label_smoothing", 1.0), ("ema", 1.0), ("mixup", float("inf"))):
            if not 0 <= getattr(self, name) < below:
                limit = " and < 1" if below == 1 else ""
                raise ValueError(f"a recipe's {name}: found {getattr(self, name)}, allowed: a number ≥ 0{limit}")
        if not 0 <= self.floor <= self.lr:
            raise ValueError(f"a recipe's floor: found {self.floor}, allowed: a number from 0 to its rate, {self.lr}")
        if (self.schedule == "step") != bool(self.milestones):
            raise ValueError("a recipe's schedule 'step' and its `milestones`, epochs, go together: one is missing")
        if self.optimizer == "lbfgs":
            self._of_lbfgs()

    def _of_lbfgs(self) -> None:
        """L-BFGS asks for one function, the same at every step, and for no rate."""
        if self.batch_size != 0:
            raise ValueError(f"lbfgs takes the whole support at each step: batch_size is 0, not {self.batch_size}")
        unfit = {
            "schedule": self.schedule != "constant",
            "warmup": self.warmup > 0 or self.warmup_epochs > 0,
            "rates": bool(self.rates),
            "mixup": self.mixup > 0,
            "views": bool(self.views),
            "precision": self.precision != "fp32",
        }
        found = [name for name, used in unfit.items() if used]
        if found:
            raise ValueError(f"lbfgs searches along a line of one loss: it goes with no {', '.join(found)}")


def _one_of(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise ValueError where a name does not exist."""
    if value not in allowed:
        words = ", ".join(word or "''" for word in allowed)
        raise ValueError(f"a recipe's {name}: found {brief(value)}, allowed: one of {words}{nearest(value, allowed)}")


def training(lr: float, epochs: int, weight_decay: float = 0.01, batch_size: int = 32) -> dict[str, Param]:
    """The parameters that every trained method has, with this method's defaults."""
    return {
        "lr": Param(lr, "learning rate", above=0),
        "weight_decay": Param(weight_decay, "weight decay", low=0),
        "epochs": Param(epochs, "passes over the support", low=1),
        "batch_size": Param(batch_size, "images per step; 0 takes the whole support", low=0),
    }


PRECISION = Param(
    "fp32",
    "what the towers run in for a step's gradients; bf16 is for GPUs, and what classifies is fp32 either way",
    choices=PRECISIONS,
)
WISE = Param(1.0, "share w of what was learned: weights (1 − w) θ₀ + w θ, θ₀ where they start", low=0, high=1)
OWN_LENGTH = Param(0.0, "length that the class texts are brought to; 0 leaves them at their own", low=0)
WARMUP_RATE = Param(1e-5, "learning rate of the first epoch", above=0)
