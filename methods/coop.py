"""CoOp: the words of the prompt become vectors that are learned through the frozen text tower."""

from methods import Facts, Method, Param, hookimpl
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
    facts = Facts(
        year=2021,
        formula="s f t^T, t_k = unit(g(V, name_k))",
        training="SGD, 50, 100 or 200 epochs, through the text tower",
        learned="16 * W",
        fit="E * N * K * G / 40",
        memory="2160 * K * W",
        use="From 2 shots on, where the classes have names that say something, and there is a GPU or a small tower.",
        fails="With one shot and contexts drawn at random; on classes that it has not seen; slow with many classes.",
        passes=200,
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
