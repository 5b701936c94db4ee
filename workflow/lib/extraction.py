"""Features from images: every split and the class texts of a dataset, through one backbone."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from workflow.lib import backbones
from workflow.lib.backbones import Backbone
from workflow.lib.errors import UserError
from workflow.lib.features import Features, Split
from workflow.lib.images import Preprocess
from workflow.lib.index import Index
from workflow.lib.progress import bar

log = logging.getLogger(__name__)

# On a CPU every thread has a batch of its own: small ones stay in its cache and share the work out evenly.
DEFAULT_BATCH_SIZE = {"cpu": 16, "cuda": 64}
_BATCHES_AHEAD = 2
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Encoder:
    """A forward pass in pieces of at most `batch_size`, which is halved whenever memory runs out.

    Threads may share an encoder.
    """

    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor], batch_size: int) -> None:
        self._forward = forward
        self.batch_size = batch_size

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """`forward` of the batch `(N, ...)`. Raises `UserError` where not even one item fits into memory."""
        while True:
            size = self.batch_size
            try:
                return torch.cat([self._forward(piece) for piece in torch.split(batch, size)])
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                reason = str(error)
            # Only here, where the exception and the tensors that it holds are gone, is their memory free.
            self._halve(min(size, len(batch)), reason)

    def _halve(self, size: int, reason: str) -> None:
        if size == 1:
            raise UserError(f"not even one image at a time fits into memory: {reason}")
        self.batch_size = min(self.batch_size, size // 2)
        log.warning("out of memory at %d at a time, going on with %d", size, self.batch_size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def extract(
    index: Index,
    spec: Mapping[str, Any],
    templates: Sequence[str],
    names: Mapping[str, str],
    threads: int,
    device: str = "auto",
) -> Features:
    """Load the backbone of `spec` once, and take the images in `index` and the class names in `templates` through it.

    `names` goes into the metadata. Raises `UserError` where the model can't be had, an image can't be read, or the
    features come out with NaN or infinite values.
    """
    backbone = backbones.load(spec, device)
    log.info("%s on %s, %s, weights %s", spec["model"], backbone.device, backbone.dtype, backbone.fingerprint[:12])
    size = spec.get("batch_size", DEFAULT_BATCH_SIZE[backbone.device.type])
    text = embed_texts(backbone, index.classnames, templates, size, threads) if templates else None
    splits = extract_splits(backbone, index, size, threads)
    metadata = {**names, **_provenance(backbone, index, spec, templates)}
    return Features(splits, index.classnames, text, backbone.logit_scale, metadata)


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
    preprocess, encoder = Preprocess(backbone.preprocess), Encoder(backbone.encode_images, batch_size)

    def encode(images: torch.Tensor) -> torch.Tensor:
        return encoder(preprocess.finish(images.to(backbone.device)))

    batches = _batches(paths, batch_size)
    if backbone.device.type != "cpu" if decode_ahead is None else decode_ahead:
        results: Iterator[torch.Tensor] = map(encode, _in_order(preprocess.load, batches, threads))
    else:
        results = _in_order(lambda batch: encode(preprocess.load(batch)), batches, threads)
    with bar(len(paths), "images") as progress, _one_core_a_thread(backbone.device):
        return _gather(results, progress.update)


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
