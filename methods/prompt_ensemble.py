"""Prompt ensembling: the zero-shot classifier from several prompts of each class, put together in one of three ways."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from methods import Array, Candidate, Facts, Method, Param, Params, Replica, Task, hookimpl, unit
from methods.contract.base import Floats
from methods.contract.program import INPUT, Program, Writer

TINY = 1e-30  # of a probability, whose logarithm is a number


class PromptEnsemble(Method):
    """Zero-shot with `t_kp` the unit text of class k in prompt p of P, averaged over the prompts.

    `average: logits` is `s f m_k^T` with `m_k = mean_p t_kp`: a class whose prompts disagree has a short m and is said
    less often. `average: embeddings` makes m unit first, which is `zero_shot`. `average: probabilities` is
    `log mean_p softmax_k(s f t_kp^T)`: each prompt is a classifier of its own, and a prompt that is sure outvotes those
    that are not. With one prompt all three are the same.
    """

    name = "prompt_ensemble"
    paper = "arXiv:2103.00020"
    departs = "80 prompts: those of the dataset's `templates` are taken"
    learns = False
    facts = Facts(
        year=2021,
        formula="s f mean_p(t_kp)^T, or log mean_p softmax(s f t_kp^T)",
        training="none",
        learned="0",
        fit="K * P * D",
        memory="K * P * D",
        use="As the baseline for what prompts alone give; with `probabilities` an image takes P times as long.",
        fails=(
            "`logits` where the prompts of one class agree less than those of the others, `probabilities` where a poor "
            "prompt is sure of itself: both can be below the average of embeddings."
        ),
    )
    params = {
        "average": Param(
            "logits", "what is averaged over the prompts", choices=("embeddings", "logits", "probabilities")
        )
    }

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text_each"})

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        each = np.float32(task.logit_scale) * task.each_text()
        for replica in replicas:
            if replica.params["average"] == "probabilities":
                yield Candidate.of(replica, partial(mixed, each=each), program=partial(program, each))
            else:
                mean = each.mean(1)
                weight = task.logit_scale * unit(mean) if replica.params["average"] == "embeddings" else mean
                yield Candidate.of(replica, partial(linear, weight=weight))


def linear(queries: Array, weight: Floats) -> Array:
    """`f W^T`."""
    return queries @ weight.T


def mixed(queries: Array, each: Floats) -> Array:
    """`log mean_p softmax_k(f t_kp^T)`, `(M, K)`, of prompts `(K, P, D)`: one prompt at a time is in memory."""
    total = np.zeros((len(queries), len(each)), np.float32)
    for prompt in range(each.shape[1]):
        logits = queries @ each[:, prompt].T
        powers = np.exp(logits - logits.max(1, keepdims=True))
        total += powers / powers.sum(1, keepdims=True)
    return np.log(total / each.shape[1] + TINY)


def program(each: Floats) -> Program:
    """The same, to be shipped."""
    write = Writer()
    total: str | float = 0.0
    for prompt in range(each.shape[1]):
        total = write("add", write("softmax", write("linear", INPUT, each[:, prompt].T)), total)
    return write.program(write("log", write("add", write("multiply", total, 1 / each.shape[1]), TINY)))


@hookimpl
def register_methods() -> list[type[Method]]:
    return [PromptEnsemble]
