"""What towers in the loop cost on FGVC-Aircraft, on paper: counted operations over an assumed rate, nothing measured.

The operations are those of the matrix products in a step, of the code that trains and of the plain way: see
`operations`. Steps are those of the recipes, with 100 classes; a training ends with logits for 3333 images, as often as
the code computes them. An hour is one of a GPU at a share of its peak.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.operations import BATCH, Step, loaded, ours, plain, problem, support, whole
from benchmarks.seeds import NAMES, dim
from methods import Task, TrainedMethod
from methods.clip_lora import LowRankAdaptation
from methods.contract.adapted import steps as steps_of
from methods.contract.tuned import POINTS
from methods.coop import ContextOptimization
from methods.fine_tune import FineTuning
from methods.kgcoop import KnowledgeGuidedContext
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from workflow.lib.engine import optimizers
from workflow.lib.engine.batches import bounds

MODELS = ("ViT-B-32", "ViT-B-16")
METHODS: tuple[type[TrainedMethod], ...] = (
    ContextOptimization, KnowledgeGuidedContext, LowRankAdaptation, TwoStage, LastBlock, FineTuning,
)  # fmt: skip
SHOTS, SEEDS = (1, 2, 4, 8, 16), 3
IMAGES, QUERIES = 10_000, 3333
PEAKS = {"T4": 8.1, "V100": 15.7, "A100": 19.5, "H100": 66.9}  # TFLOP/s in float32 without tensor cores, as published
GPU, SHARE = "A100", 0.4


def training(method: type[TrainedMethod], task: Task, one: Step, passes: int, second: float) -> float:
    """Of a training with the support of a task, which ends with so many passes over the queries.

    `second` are those of a step of the second stage, of a method that has one. A last batch counts as a whole one.
    """
    params, size = method.defaults({}), len(task.supports[0].y)
    recipe = method().recipe(task, params)
    steps = optimizers.steps(recipe, len(bounds(size, recipe.batch_size)))
    found = steps * one.step + size * one.image + passes * QUERIES * one.query
    return found + (steps_of(task, params) - steps) * second if method is TwoStage else found


def both(method: type[TrainedMethod], name: str) -> dict[str, list[float]]:
    """The operations of a training at each number of shots, the plain way and ours."""
    backbone = loaded(name)
    product = 6.0 * BATCH * dim(backbone) * len(NAMES)
    tasks = [replace(problem(backbone), supports=support(shots), shots=str(shots)) for shots in SHOTS]
    found = ours(method, backbone), plain(method, backbone)
    second = product, BATCH * found[1].query + product
    passes = 1 if method is TwoStage else POINTS, 1
    mine, theirs = ([training(method, task, *way) for task in tasks] for way in zip(found, passes, second, strict=True))
    return {"plain": theirs, "ours": mine}


def line(method: type[TrainedMethod], way: str, hours: list[float]) -> str:
    """The row of a method, the plain way or ours."""
    label = f"`{method.name}`" + (", the plain way" if way == "plain" else "")
    return f"| {label} | " + " | ".join(f"{one:.3f}" for one in [*hours, SEEDS * sum(hours)]) + " |"


def hour(gpu: str, share: float) -> float:
    """The operations of an hour of a GPU at a share of its peak."""
    return 3600e12 * PEAKS[gpu] * share


def table(name: str, each_hour: float) -> Iterator[str]:
    """Hours of one model, of so many operations each."""
    yield f"| {name}, hours | " + " | ".join(f"{n} shot{'s'[: n - 1]}" for n in SHOTS) + f" | all, {SEEDS} seeds |"
    yield "|---|" + "---:|" * (len(SHOTS) + 1)
    total = {"plain": 0.0, "ours": 0.0}
    for method in METHODS:
        for way, each in both(method, name).items():
            total[way] += SEEDS * sum(each)
            yield line(method, way, [one / each_hour for one in each])
    features = 2 * IMAGES * whole(loaded(name))
    gap = " |" * len(SHOTS)
    yield f"| features of {IMAGES} images, and what goes into their last block |{gap} {features / each_hour:.3f} |"
    yield f"| all of it, the plain way |{gap} {total['plain'] / each_hour:.1f} |"
    yield f"| all of it |{gap} {(total['ours'] + features) / each_hour:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", choices=PEAKS, default=GPU, help="whose published peak in float32 is taken")
    parser.add_argument("--share", type=float, default=SHARE, help="of its peak that a training is assumed to reach")
    arguments = parser.parse_args()
    print("\n".join(report(arguments.gpu, arguments.share)))


def report(gpu: str, share: float) -> Iterator[str]:
    """The tables of all models."""
    yield f"On paper, not measured: one {gpu} at {share:.0%} of its {PEAKS[gpu]} TFLOP/s in float32."
    for name in MODELS:
        yield ""
        yield from table(name, hour(gpu, share))


if __name__ == "__main__":
    main()
