"""Three seeds side by side against one after the other: the time of a step and the most memory, as ratios.

ViT-B-32 with random weights, 25 class names of aircraft, batches of 8 images, one thread. Each way is a process of its
own, forked when the model is loaded: memory is the largest that the process had while it made its trainings and took
two steps, less what it had before; time is that of the second step, of all seeds. Linux alone says how much it was.
"""

import ctypes
import gc
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch

from methods import Replica, Support, Task, TrainedMethod, unit
from methods.contract.needs import arrays, depth
from workflow.lib.drawn.fleet import VARIANTS
from workflow.lib.encoding import backbones, beside
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.engine import training
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

NAMES = [variant.name for variant in VARIANTS]
DIM, SCALE, SEEDS = 512, 100.0, 3
CLASSES, BATCH = 25, 8
MB = 1024  # in kB, which the system counts in
Seconds = tuple[float, float]  # by the clock, of the processor


class Taken(NamedTuple):
    """What a way takes: of a step, and at most."""

    seconds: Seconds
    megabytes: float


def cost(step: Callable[[], None]) -> Seconds:
    """What one call takes."""
    clock, own = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - clock, time.process_time() - own


def loaded() -> Backbone:
    """ViT-B-32 with random weights, as a study loads it."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32", pretrained=None).eval().requires_grad_(False)
    return backbones.wrap(model, open_clip.get_tokenizer("ViT-B-32"), "0" * 64, "fp32", torch.device("cpu"))


def dim(backbone: Backbone) -> int:
    """D, of an embedding."""
    visual: Any = backbone.visual
    return int(visual.output_dim)


def problem(method: type[TrainedMethod], backbone: Backbone, seeds: int, classes: int, batch: int) -> Task:
    """One batch of noise for each seed: images as bytes, what goes into blocks, or embeddings, as the method needs."""
    rng = np.random.default_rng(0)
    rows = [_rows(method, backbone, rng, batch) for _ in range(seeds)]
    supports = {seed: Support(x, rng.integers(classes, size=batch)) for seed, x in enumerate(rows)}
    names, text = NAMES[:classes], unit(rng.normal(size=(classes, dim(backbone)))).astype(np.float32)
    encoder = Encoder(Tower(backbone.model), backbone.tokenizer, names, ["{}"])
    model = TwoTowers(backbone, [[name] for name in names], ["{}"])
    return Task(supports, names, "1", text, SCALE, engine=training, encoder=encoder, model=model)


def _rows(method: type[TrainedMethod], backbone: Backbone, rng: np.random.Generator, batch: int) -> Any:
    wanted = arrays(method().needs(method.defaults({})))
    if not wanted:
        return unit(rng.normal(size=(batch, dim(backbone)))).astype(np.float32)
    if blocks := depth(wanted[0]):
        size = prod(beside.shape_before(backbone, blocks))
        return rng.normal(size=(batch, size)).astype(np.float32)
    return rng.integers(256, size=(batch, 3 * prod(beside.sides(backbone))), dtype=np.uint8)


def stepping(method: type[TrainedMethod], task: Task) -> Callable[[], None]:
    """A step of all seeds of the task side by side."""
    params = method.defaults({}) | {key: 10**6 for key in ("epochs", "iterations") if key in method.params}
    return partial(training.Run(method(), task, [Replica("-", params, seed) for seed in task.supports]).advance, 1)


def taken(method: type[TrainedMethod], task: Task, together: bool) -> Taken:
    """By the seeds of the task, in this process, which has the model already."""
    own = [{seed: support} for seed, support in task.supports.items()]
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free would be used again, and not be counted
    Path("/proc/self/clear_refs").write_text("5")  # forget the most so far
    before, seconds = _kilobytes("VmRSS"), []
    for supports in [dict(task.supports)] if together else own:
        step = stepping(method, replace(task, supports=supports))
        step()
        seconds.append(cost(step))
        del step  # one after the other: what a training has is gone when the next begins
    clock, processor = (sum(one[i] for one in seconds) for i in range(2))
    return Taken((clock, processor), (_kilobytes("VmHWM") - before) / MB)


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def apart(method: type[TrainedMethod], task: Task, together: bool) -> Taken:
    """Likewise, in a process of its own."""
    context = multiprocessing.get_context("fork")  # nothing is copied to it
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(taken(method, task, together)))
    child.start()
    theirs.close()
    found: Taken = ours.recv()
    child.join()
    return found


def report_seeds(method: type[TrainedMethod]) -> Iterator[str]:
    """What three seeds take both ways."""
    task = problem(method, loaded(), SEEDS, CLASSES, BATCH)
    turn, side = (apart(method, task, together) for together in (False, True))
    yield f"{f'{method.name}, {SEEDS} seeds':28}{'by the clock, s':>18}{'of a core, s':>18}{'memory, MB':>18}"
    for name, one in (("one after the other", turn), ("side by side", side)):
        yield f"{name:28}{one.seconds[0]:18.2f}{one.seconds[1]:18.2f}{one.megabytes:18.0f}"
    times = [f"{side.seconds[i] / turn.seconds[i]:.2f}x" for i in range(2)]
    yield f"{'side by side to the other':28}{times[0]:>18}{times[1]:>18}{side.megabytes / turn.megabytes:>17.2f}x"
