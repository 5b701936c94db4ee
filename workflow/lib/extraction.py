"""Features from images: every split and the class texts of a dataset, through one backbone."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from workflow.lib import backbones
from workflow.lib.backbones import Backbone
from workflow.lib.encoder import Encoder
from workflow.lib.features import Features, Split
from workflow.lib.images import Preprocess
from workflow.lib.index import Index
from workflow.lib.progress import bar
from workflow.lib.views import Augmentation
from workflow.lib.views import load as load_views

log = logging.getLogger(__name__)

# On a CPU every thread has a batch of its own: small ones stay in its cache and share the work out evenly.
DEFAULT_BATCH_SIZE = {"cpu": 16, "cuda": 64}
_BATCHES_AHEAD = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def extract(
    index: Index,
    spec: Mapping[str, Any],
    templates: Sequence[str],
    names: Mapping[str, str],
    threads: int,
    device: str = "auto",
    views: int = 0,
    flip: bool = True,
) -> Features:
    """Load the backbone of `spec` once, and take the images in `index` and the class names in `templates` through it.

    `views` of every train image are added, half of them mirrored if `flip`. `names` goes into the metadata. Raises
    `UserError` where the model can't be had, an image can't be read, or features come out with NaN or infinite values.
    """
    backbone = backbones.load(spec, device)
    log.info("%s on %s, %s, weights %s", spec["model"], backbone.device, backbone.dtype, backbone.fingerprint[:12])
    size = spec.get("batch_size", DEFAULT_BATCH_SIZE[backbone.device.type])
    text = embed_texts(backbone, index.classnames, templates, size, threads) if templates else None
    splits = extract_splits(backbone, index, size, threads)
    metadata = {**names, **_provenance(backbone, index, spec, templates)}
    made = Features(splits, index.classnames, text, backbone.logit_scale, metadata)
    return _with_views(made, backbone, index, augmentation(backbone, flip), views, size, threads) if views else made


def augmentation(backbone: Backbone, flip: bool) -> Augmentation:
    """That of the views: to the size of the backbone's images."""
    size = json.loads(backbone.preprocessing)["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return Augmentation((height, width), flip=0.5 if flip else 0.0)


def _with_views(
    made: Features, backbone: Backbone, index: Index, how: Augmentation, count: int, batch_size: int, threads: int
) -> Features:
    paths = [index.root / file for file, _ in index.splits["train"]]
    metadata = {**made.metadata, "views": {"count": count, **how.describe()}}
    return replace(made, metadata=metadata, train_views=embed_views(backbone, paths, how, count, batch_size, threads))


def _provenance(backbone: Backbone, index: Index, spec: Mapping[str, Any], templates: Sequence[str]) -> dict[str, Any]:
    """Everything that the features depend on."""
    return {
        "files": {split: [file for file, _ in entries] for split, entries in index.splits.items()},
        "templates": list(templates),
        "spec": dict(spec),
        "weights_sha256": backbone.fingerprint,
        "preprocess": backbone.preprocessing,
        "precision": spec.get("precision", "fp32"),
        "device": backbone.device.type,
        "versions": {name: version(name) for name in ("open_clip_torch", "torch", "torchvision", "pillow")},
    }


def extract_splits(backbone: Backbone, index: Index, batch_size: int, threads: int) -> dict[str, Split]:
    """The embeddings of all images, split by split. Raises `UserError` for an image that can't be read."""
    entries = [entry for split in index.splits.values() for entry in split]
    paths = [index.root / file for file, _ in entries]
    x = embed_images(backbone, paths, batch_size, threads)
    y = np.array([label for _, label in entries], dtype=np.int64)
    ends = np.cumsum([len(split) for split in index.splits.values()])[:-1]
    parts = zip(np.split(x, ends), np.split(y, ends), strict=True)
    return {name: Split(*part) for name, part in zip(index.splits, parts, strict=True)}


def embed_images(
    backbone: Backbone, paths: Sequence[Path], batch_size: int, threads: int, decode_ahead: bool | None = None
) -> NDArray[np.float32]:
    """Pooled embeddings `(N, D)`, not normalised, of the images in `paths`, with a progress line.

    On a GPU `threads` threads decode ahead of the forward pass (`decode_ahead`). On a CPU both want the same cores, and
    a forward pass spread over cores waits wherever a decoder takes one of them; so there each of `threads` threads
    takes whole batches from file to embedding, on one core.
    """
    preprocess = Preprocess(backbone.preprocess)
    ahead = backbone.device.type != "cpu" if decode_ahead is None else decode_ahead
    batches, encode = _batches(paths, batch_size), _encode(backbone, preprocess, batch_size)
    with bar(len(paths), "images") as progress, _one_core_a_thread(backbone.device):
        return _gather(_both(preprocess.load, encode, batches, threads, ahead), progress.update)


def embed_views(
    backbone: Backbone, paths: Sequence[Path], how: Augmentation, count: int, batch_size: int, threads: int
) -> NDArray[np.float32]:
    """Pooled embeddings `(N, count, D)`, not normalised, of views of the images in `paths`, the rows of a split."""
    ahead = backbone.device.type != "cpu"
    batches = _batches(list(enumerate(paths)), max(1, batch_size // count))
    encode = _encode(backbone, Preprocess(backbone.preprocess), batch_size)
    with bar(len(paths) * count, "views", unit="views") as progress, _one_core_a_thread(backbone.device):
        x = _gather(_both(partial(load_views, how, count), encode, batches, threads, ahead), progress.update)
    return x.reshape(len(paths), count, -1)


def _encode(backbone: Backbone, preprocess: Preprocess, batch_size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """From bytes `(N, H, W, 3)` to embeddings `(N, D)`."""
    encoder = Encoder(backbone.encode_images, batch_size)
    return lambda images: encoder(preprocess.finish(images.to(backbone.device)))


def _both(
    load: Callable[[Item], torch.Tensor],
    encode: Callable[[torch.Tensor], torch.Tensor],
    items: Iterable[Item],
    threads: int,
    ahead: bool,
) -> Iterator[torch.Tensor]:
    """`encode(load(item))` of every item: `load` alone in the threads, ahead of `encode`, or both of them there."""
    if ahead:
        return map(encode, _in_order(load, items, threads))
    return _in_order(lambda item: encode(load(item)), items, threads)


def embed_texts(
    backbone: Backbone, classnames: Sequence[str], templates: Sequence[str], batch_size: int, threads: int
) -> NDArray[np.float32]:
    """Text embeddings `(K, T, D)`, not normalised: each of K classes in each of T templates."""
    prompts = [template.replace("{}", name) for name in classnames for template in templates]
    encoder = Encoder(backbone.encode_tokens, batch_size)
    work = (backbone.tokenizer(batch) for batch in _batches(prompts, batch_size))
    with bar(len(prompts), "texts", unit="texts") as progress, _one_core_a_thread(backbone.device):
        embeddings = _gather(_in_order(encoder, work, threads), progress.update)
    return embeddings.reshape(len(classnames), len(templates), -1)


def _gather(results: Iterable[torch.Tensor], done: Callable[[int], object]) -> NDArray[np.float32]:
    parts = []
    for part in results:
        parts.append(part.numpy())
        done(len(part))
    return np.concatenate(parts)


def _batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`work` of every item, done by `threads` threads a few items ahead, and given out in the order of the items."""
    pool = ThreadPoolExecutor(threads)
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) >= threads + _BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # After an error or an interrupt the rest is dropped, not worked through.
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_core_a_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, no threads within an operation: the embeddings then don't depend on the number of threads either."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
