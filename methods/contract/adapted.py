"""Methods that train parts inside the towers' blocks, of which all else stays frozen: `clip_lora` and `two_stage`."""

from collections.abc import Mapping
from typing import Any

from methods.contract import shots
from methods.contract.adaptation import Adaptable, Adaptation
from methods.contract.base import Array, Params, Replica, Task
from methods.contract.params import Param
from methods.contract.recipe import Recipe
from methods.contract.towers import TowerMethod

FLOOR = 1e-6  # where the rate ends
MOST = 16  # shots that are published: with more there are no more steps


def parameters(iterations: int) -> dict[str, Param]:
    """What all of them have: the prompt and the recipe."""
    return {
        "encoder": Param("text", "the tower in which parts are trained; images are cached", choices=("text",)),
        "prompt": Param("a photo of a {}.", "what a class is called; '' takes the dataset's first template"),
        "iterations": Param(iterations, "steps for each shot, up to 16 of them", low=1),
        "lr": Param(2e-4, "learning rate", above=0),
        "weight_decay": Param(1e-2, "weight decay", low=0),
        "batch_size": Param(32, "images per step; 0 takes the whole support", low=0),
    }


def steps(task: Task, params: Params) -> int:
    """How many the whole training takes."""
    return max(1, round(params["iterations"] * min(MOST, shots.number(task))))


def recipe(params: Params, count: int) -> Recipe:
    """So many steps of AdamW, whose rate falls along half a wave of a cosine."""
    lr, decay, batch_size = params["lr"], params["weight_decay"], params["batch_size"]
    return Recipe("adamw", lr, decay, 1, batch_size, schedule="cosine", floor=min(lr, FLOOR), steps=count)


class AdaptedMethod(TowerMethod):
    """Base: `s f t^T` through towers with parts that are trained; override `of_tower` and `adaptation`."""

    def needs(self, params: Params) -> frozenset[str]:
        return super().needs(params) | {"text_blocks"}

    def of_tower(self, nn: Any, tower: Adaptable, params: Params) -> Mapping[str, Any]:
        """What one replica trains in a tower: `nn.Parameter`s by name."""
        raise NotImplementedError(f"{type(self).__name__} must override `of_tower`")

    def adaptation(self, head: Any, side: str) -> Adaptation:
        """The parts of all replicas in a tower: what `of_tower` gave for "text" is `head.text_<name>`."""
        raise NotImplementedError(f"{type(self).__name__} must override `adaptation`")

    def recipe(self, task: Task, params: Params) -> Recipe:
        return recipe(params, steps(task, params))

    def parts(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        encoder = task.text_encoder()
        prompt = replica.params["prompt"] or encoder.templates[0]
        tower = encoder.adaptable([prompt.replace("{}", name) for name in encoder.names])
        own = self.of_tower(nn, tower, replica.params)
        return {"prompts": tower, **{f"text_{name}": part for name, part in own.items()}}

    def texts(self, head: Any) -> Array:
        return head.prompts(self.adaptation(head, "text"))
