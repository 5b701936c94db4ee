"""How much of a model's bare speed is left when its images come from files.

Three things are timed in turn, several times over, so that whatever else the machine does hits all of them alike:

- `plain`: the forward pass alone on tensors in memory, one batch after the other, each on all threads;
- `per thread`: the same with one batch on each thread, which is how the features job runs on a CPU;
- `job`: what the features job does, from files to embeddings.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image

from workflow.lib.drawn import planes
from workflow.lib.encoding import backbones, extraction
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.images import Preprocess
from workflow.lib.jobs import entry

NANO = Path("workflow/assets/nano")
Round = dict[str, float]


def main() -> None:
    """Time both cases and print images per second and ratios."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        title = f"{arguments.model} (random weights), JPEG 1024 x 768"
        report(title, random_model(arguments.model), draw_photographs(Path(folder), 64), arguments)
        if (NANO / "model.safetensors").is_file():
            nano = backbones.load({"model": f"{NANO}/model.json", "weights": f"{NANO}/model.safetensors"}, "cpu")
            report("nano, planes, BMP 64 x 64", nano, draw_planes(Path(folder), 2000), arguments)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__)
    parser.add_argument("--model", default="ViT-B-32", help="open_clip name of the large model (default: ViT-B-32)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-size", type=int, default=extraction.DEFAULT_BATCH_SIZE["cpu"])
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def random_model(name: str) -> Backbone:
    """An open_clip model as it is before any training: as fast as with its weights."""
    torch.manual_seed(0)
    return backbones.wrap(open_clip.create_model(name), None, "random", "fp32", torch.device("cpu"))


def draw_photographs(folder: Path, count: int) -> list[Path]:
    """Blurred patches with grain: as JPEG about as large as a photograph of that size, 250 KB."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path in paths:
        patches = Image.fromarray(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8)).resize((1024, 768))
        grain = rng.integers(-8, 9, (768, 1024, 3))
        Image.fromarray(np.clip(np.asarray(patches) + grain, 0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def draw_planes(folder: Path, count: int) -> list[Path]:
    """Pictures of the `planes` dataset, stored as its source stores them."""
    paths = [folder / f"{number}.bmp" for number in range(count)]
    for number, path in enumerate(paths):
        planes.image(number % len(planes.VARIANTS), "train", number // len(planes.VARIANTS)).save(path)
    return paths


def report(title: str, backbone: Backbone, paths: Sequence[Path], arguments: argparse.Namespace) -> None:
    """Run the rounds of one case; the first only warms up."""
    preprocess = Preprocess(backbone.preprocess)
    tensors = preprocess.finish(preprocess.load(paths))
    rounds = [
        one_round(backbone, paths, tensors, arguments.batch_size, arguments.threads)
        for _ in range(arguments.rounds + 1)
    ][1:]
    print(f"{title}: {len(paths)} images, {arguments.threads} threads, batches of {arguments.batch_size}")
    for name in rounds[0]:
        speeds = [each[name] for each in rounds]
        print(f"  {name:10}  {statistics.median(speeds):8.1f} images/s  (best {max(speeds):.1f})")
    for name in ("plain", "per thread"):
        ratio = statistics.median(each["job"] / each[name] for each in rounds)
        print(f"  the job reaches {ratio:.0%} of the forward pass {name}")


def one_round(backbone: Backbone, paths: Sequence[Path], tensors: torch.Tensor, batch_size: int, threads: int) -> Round:
    """Images per second of each of the three."""
    batches = torch.split(tensors, batch_size)
    return {
        "plain": len(paths) / seconds(lambda: plain(backbone, batches, threads)),
        "per thread": len(paths) / seconds(lambda: per_thread(backbone, batches, threads)),
        "job": len(paths) / seconds(lambda: extraction.embed_images(backbone, paths, batch_size, threads)),
    }


def plain(backbone: Backbone, batches: Sequence[torch.Tensor], threads: int) -> None:
    """One batch after the other, each spread over all threads."""
    torch.set_num_threads(threads)
    for batch in batches:
        backbone.encode_images(batch)


def per_thread(backbone: Backbone, batches: Sequence[torch.Tensor], threads: int) -> None:
    """A batch on each thread at a time."""
    torch.set_num_threads(1)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(backbone.encode_images, batches))


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    entry.run(main)
