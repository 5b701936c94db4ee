"""Methods that train parts inside the towers' blocks, of which all else stays frozen: `clip_lora` and `two_stage`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from methods.contract import shots, tuned
from methods.contract.adaptation import Adaptable, Adaptation
from methods.contract.base import Array, Candidate, Params, Replica, Task, unit
from methods.contract.changes import Changes
from methods.contract.needs import before
from methods.contract.params import Param
from methods.contract.recipe import PRECISION, Recipe
from methods.contract.towers import TowerMethod

FLOOR = 1e-6  # where the rate ends
MOST = 16  # shots that are published: with more there are no more steps
SIDES = {"both": ("text", "vision"), "text": ("text",), "vision": ("vision",)}


def parameters(iterations: int) -> dict[str, Param]:
    """What all of them have: the towers, the prompt, the views and the recipe."""
    return {
        "encoder": Param(
            "both",
            "the towers in which parts are trained; with `text` images are cached, with `vision` texts are zero-shot's",
            choices=tuple(SIDES),
        ),
        "prompt": Param("a photo of a {}.", "what a class is called; '' takes the dataset's first template"),
        **tuned.VIEWS,
        "iterations": Param(iterations, "steps for each shot, up to 16 of them", low=1),
        "lr": Param(2e-4, "learning rate", above=0),
        "weight_decay": Param(1e-2, "weight decay", low=0),
        "batch_size": Param(32, "images per step; 0 takes the whole support", low=0),
        "precision": PRECISION,
    }


def steps(task: Task, params: Params) -> int:
    """How many the whole training takes."""
    return max(1, round(params["iterations"] * min(MOST, shots.number(task))))


def recipe(params: Params, count: int) -> Recipe:
    """So many steps of AdamW, whose rate falls along half a wave of a cosine."""
    lr, precision = params["lr"], params["precision"]
    given = lr, params["weight_decay"], 1, params["batch_size"]
    return Recipe("adamw", *given, schedule="cosine", floor=min(lr, FLOOR), steps=count, precision=precision)


class AdaptedMethod(TowerMethod):
    """Base: `s f t^T` through towers with parts that are trained; override `of_tower` and `adaptation`."""

    def last_blocks(self, params: Params) -> int:
        """How many of the image tower's last blocks run in the loop; 0: all of it, from the pixels on."""
        return 0

    def needs(self, params: Params) -> frozenset[str]:
        blocks, sides = self.last_blocks(params), SIDES[params["encoder"]]
        text = {"text_encoder", "text_blocks"} if "text" in sides else set()
        vision = {"model", "image_blocks", before(blocks)} if "vision" in sides else set()
        return frozenset({"image", "text", *text, *vision})

    def of_tower(self, nn: Any, tower: Adaptable, params: Params) -> Mapping[str, Any]:
        """What one replica trains in a tower: `nn.Parameter`s by name."""
        raise NotImplementedError(f"{type(self).__name__} must override `of_tower`")

    def adaptation(self, head: Any, side: str) -> Adaptation:
        """The parts of all replicas in the tower "text" or "vision": what `of_tower` gave is `head.<side>_<name>`."""
        raise NotImplementedError(f"{type(self).__name__} must override `adaptation`")

    def recipe(self, task: Task, params: Params) -> Recipe:
        return recipe(params, steps(task, params))

    def candidates(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        yield from super().candidates(few(task, replicas[0].params), replicas)

    # --- What the engine asks a head ---

    def parts(self, nn: Any, task: Task, replica: Replica) -> Mapping[str, Any]:
        params, sides = replica.params, SIDES[replica.params["encoder"]]
        found: dict[str, Any] = {} if "text" in sides else {"written": task.class_text()}
        for side in sides:
            tower = _text(task, params) if side == "text" else task.loaded_model().adaptable(self.last_blocks(params))
            own = self.of_tower(nn, tower, params)
            found |= {side: tower, **{f"{side}_{name}": part for name, part in own.items()}}
        if "vision" in sides and not self.last_blocks(params):
            found["views"] = task.loaded_model().views(params["crop"], params["flip"])
        return found

    def texts(self, head: Any) -> Array:
        return head.text(self.adaptation(head, "text")) if hasattr(head, "text") else head.written

    def images(self, head: Any, x: Array) -> Array:
        """Unit embeddings `(R, B, D)` of images `x (R, B, …)`, or `(M, …)` for all; cached ones as they are."""
        return unit(head.vision(self.adaptation(head, "vision"), x)) if hasattr(head, "vision") else x

    def logits(self, head: Any, x: Array) -> Array:
        return super().logits(head, self.images(head, head.views(x) if hasattr(head, "views") else x))

    def folded(self, head: Any) -> Callable[[Array], Array]:
        classify = self.behind_tower(head)
        return lambda x: classify(self.images(head, x))

    def changed_tower(self, head: Any) -> Changes | None:
        if not hasattr(head, "vision"):
            return None
        found: Changes = head.vision.changes(self.adaptation(head, "vision"))
        return found


def _text(task: Task, params: Params) -> Adaptable:
    """The text tower over the prompts of all classes."""
    encoder = task.text_encoder()
    prompt = params["prompt"] or encoder.templates[0]
    return encoder.adaptable([prompt.replace("{}", name) for name in encoder.names])


def few(task: Task, params: Params) -> Task:
    """The task with fewer points of a training that are scored, where each takes every query through the tower."""
    vision = "vision" in SIDES[params["encoder"]]
    return tuned.few(task) if vision else task
