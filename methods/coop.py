"""CoOp: the words of the prompt become vectors that are learned through the frozen text tower."""

from methods import Method, Param, hookimpl
from methods.contract import prompted


class ContextOptimization(prompted.PromptMethod):
    """`s f t^T` with `t_k = unit(g(V, "name_k."))`: M context vectors V before the class name, through the tower g.

    V is trained by cross-entropy and, unless `class_specific`, shared by all classes. The text tower is frozen and in
    the loop, images stay cached features. With V at the words of a prompt and no step it is zero-shot with that prompt:
    `init: a photo of a`. Drawn at random, the default, V has to find a prompt first, for which one shot may be too few.
    """

    name = "coop"
    paper = "arXiv:2109.01134"
    departs = (
        "a fresh crop of each image in every epoch, for which `views` takes cached ones; the class name before or among"
        " the contexts"
    )
    params = prompted.parameters(
        16,
        "",
        Param(0, "passes over the support; 0 takes 50, 100 or 200 for 1, 2 to 7 or more shots", low=0),
        class_specific=True,
    )


@hookimpl
def register_methods() -> list[type[Method]]:
    return [ContextOptimization]
