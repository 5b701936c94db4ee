"""Zero-shot CLIP: no adapter, the line that every adapter is measured against."""

from methods import Classifier, Facts, Method, Params, Replica, Task, hookimpl


class ZeroShot(Method):
    """The scaled cosine to the text of each class: `s f T^T`."""

    name = "zero_shot"
    paper = "arXiv:2103.00020"
    departs = "nothing"
    facts = Facts(
        year=2021,
        formula="s f T^T",
        training="none",
        learned="0",
        fit="0",
        memory="D * K",
        use="Always: it is the line that the others are measured against, and the answer without a labelled image.",
        fails="Where the names of the classes tell the model little: fine-grained codes, jargon, other languages.",
    )
    learns = False

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        text = task.class_text()
        return lambda queries: task.logit_scale * queries @ text.T


@hookimpl
def register_methods() -> list[type[Method]]:
    return [ZeroShot]
