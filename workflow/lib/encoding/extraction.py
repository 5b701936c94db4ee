"""Features from images: every split and the class texts of a dataset, or a shard of them, through one backbone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from workflow.lib.data.index import Index
from workflow.lib.encoding import backbones, bad_images, beside, pipeline, preprocessing, prompts
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.encoder import Encoder
from workflow.lib.encoding.images import Preprocess, Reader, open_rgb
from workflow.lib.encoding.shards import WHOLE, Part, Shard
from workflow.lib.encoding.views import Augmentation
from workflow.lib.encoding.views import load as load_views
from workflow.lib.errors import UserError, one_line
from workflow.lib.jobs.memory import is_out_of_memory
from workflow.lib.jobs.progress import bar

log = logging.getLogger(__name__)

Encode = Callable[[torch.Tensor], torch.Tensor]  # preprocessed images (N, 3, H, W) to one row each, on the CPU

ARRAY_GB = 20.0  # that an array of images may take on disk, where nothing is said
# On a CPU every thread has a batch of its own: small ones stay in its cache and share the work out evenly.
DEFAULT_BATCH_SIZE = {"cpu": 16, "cuda": 64}


def extract(
    index: Index,
    spec: Mapping[str, Any],
    templates: Sequence[str],
    names: Mapping[str, str],
    threads: int,
    device: str = "auto",
    views: int = 0,
    flip: bool = True,
    shard: Shard = WHOLE,
    reader: Reader | None = None,
    array: str = "",
    most_gb: float = ARRAY_GB,
) -> Part:
    """Load the backbone of `spec` once, and take the shard's images and, in the first, the class names through it.

    `views` of every train image are added, half of them mirrored if `flip`. `names` goes into the metadata. Images are
    opened by `reader`. In place of the embeddings of images and views, `array` names one beside the features: where the
    backbone has no such array, or one of images would take more than `most_gb`, the part is `absent`, with the reason.

    Raises `UserError` where the model can't be loaded, images can't be read or memory runs out.
    """
    size = spec.get("batch_size") or DEFAULT_BATCH_SIZE[backbones.choose_device(device).type]
    paths = [index.root / file for entries in index.splits.values() for file, _ in entries]
    viewed = [(row, index.root / file) for row, (file, _) in enumerate(index.splits["train"] if views else [])]
    rows, view_rows = shard.rows(len(paths), size), shard.rows(len(viewed), _images_at_once(size, views))
    if not rows and not view_rows:
        log.info("%s: no batch is left for it: %d images in batches of %d", shard, len(paths), size)
        return Part()
    mine, reader = [paths[row] for row in rows], reader or Reader()
    wanted = [*mine, *(viewed[row][1] for row in view_rows)]
    with _clear_about_memory(size), bad_images.all_named(wanted, reader, threads):
        backbone = backbones.load(spec, device)
        _introduce(backbone, spec)
        made = Part(logit_scale=backbone.logit_scale, metadata={**names, **_provenance(backbone, spec, templates)})
        of_names = partial(embed_texts, backbone, templates=templates, batch_size=size, threads=threads)
        text = partial(prompts.embed, index, templates, backbone.tokenizer, of_names)
        made, encode = _begun(made, backbone, array, text if templates else None, shard, len(paths), most_gb)
        if made.absent:
            return made
        if rows:
            x = embed_images(backbone, mine, size, threads, reader=reader, encode=encode)
            made = replace(made, start=rows.start, x=x)
        if views:
            how = augmentation(backbone, flip)
            made = replace(made, metadata={**(made.metadata or {}), "views": {"count": views, **how.describe()}})
        if view_rows:
            ours = [viewed[row] for row in view_rows]
            found = embed_views(backbone, ours, how, views, size, threads, reader, encode)
            made = replace(made, views_start=view_rows.start, views=found)
    return replace(made, left_out=bad_images.told(index.root, reader))


def _begun(
    made: Part, backbone: Backbone, array: str, text: beside.Text, shard: Shard, images: int, most_gb: float
) -> tuple[Part, Encode]:
    """The part with what is made once, and what makes its rows; or a part that is `absent`."""
    if not array:
        return replace(made, text=text() if shard.number == 1 and text else None), backbone.encode_images
    try:
        found = beside.of(array, backbone, text, images, most_gb)
    except ValueError as error:
        log.info("no %s: %s", array, error)
        return replace(made, array=array, absent=str(error)), backbone.encode_images
    return replace(made, array=array, projection=found.projection), found


def _introduce(backbone: Backbone, spec: Mapping[str, Any]) -> None:
    """Say in the log what the images go through."""
    log.info("%s on %s, %s, weights %s", spec["model"], backbone.device, backbone.dtype, backbone.fingerprint[:12])
    how = preprocessing.words(json.loads(backbone.preprocessing))
    log.info("images: %s; activation %s; from %s", how, backbone.activation, backbone.recipe)


@contextmanager
def _clear_about_memory(size: int) -> Iterator[None]:
    """One line where memory runs out outside the forward pass, whose batches are halved before that."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"out of memory ({one_line(error) or type(error).__name__}): give the job more (mem_mb), the dataset "
            f"more `shards`, or the backbone a `batch_size` below {size}"
        ) from error


def augmentation(backbone: Backbone, flip: bool) -> Augmentation:
    """That of the views: to the size of the backbone's images."""
    return Augmentation(beside.sides(backbone), flip=0.5 if flip else 0.0)


def _provenance(backbone: Backbone, spec: Mapping[str, Any], templates: Sequence[str]) -> dict[str, Any]:
    """Everything that the features depend on, apart from the images."""
    return {
        "templates": list(templates),
        "spec": dict(spec),
        "weights_sha256": backbone.fingerprint,
        "preprocess": backbone.preprocessing,
        "activation": backbone.activation,
        "recipe": backbone.recipe,
        "precision": spec.get("precision", "fp32"),
        "device": backbone.device.type,
        "versions": {name: version(name) for name in ("open_clip_torch", "torch", "torchvision", "pillow")},
    }


def embed_images(
    backbone: Backbone,
    paths: Sequence[Path],
    batch_size: int,
    threads: int,
    decode_ahead: bool | None = None,
    reader: Callable[[Path], Image] = open_rgb,
    encode: Encode | None = None,
) -> NDArray[np.float32]:
    """Pooled embeddings `(N, D)`, not normalised, of the images in `paths`, or what `encode` makes of them.

    On a GPU `threads` threads decode ahead of the forward pass (`decode_ahead`). On a CPU both want the same cores, and
    a forward pass spread over cores waits wherever a decoder takes one of them; so there each of `threads` threads
    takes whole batches from file to embedding, on one core.
    """
    with bar(len(paths), "images") as progress:
        made = embedded(backbone, paths, batch_size, threads, reader, decode_ahead, encode)
        return pipeline.gather(made, len(paths), progress.update)


def embedded(
    backbone: Backbone,
    paths: Sequence[Path],
    batch_size: int,
    threads: int,
    reader: Callable[[Path], Image] = open_rgb,
    decode_ahead: bool | None = None,
    encode: Encode | None = None,
) -> Iterator[torch.Tensor]:
    """The same, batch by batch, `(B, D)` each: a few of them at a time are in memory."""
    preprocess = Preprocess(backbone.preprocess, reader)
    ahead = backbone.device.type != "cpu" if decode_ahead is None else decode_ahead
    batches, encoder = pipeline.batches(paths, batch_size), _encoder(backbone, preprocess, batch_size, encode)
    with pipeline.one_core_a_thread(backbone.device):
        yield from pipeline.both(preprocess.load, encoder, batches, threads, ahead)


def embed_views(
    backbone: Backbone,
    images: Sequence[tuple[int, Path]],
    how: Augmentation,
    count: int,
    batch_size: int,
    threads: int,
    reader: Callable[[Path], Image] = open_rgb,
    encode: Encode | None = None,
) -> NDArray[np.float32]:
    """Pooled embeddings `(N, count, D)`, not normalised, of views of images, each with its row in its split.

    Or what `encode` makes of them.
    """
    ahead = backbone.device.type != "cpu"
    batches = pipeline.batches(images, _images_at_once(batch_size, count))
    encoder = _encoder(backbone, Preprocess(backbone.preprocess), batch_size, encode)
    total = len(images) * count
    load = partial(load_views, how, count, opened=reader)
    with bar(total, "views", unit="views") as progress, pipeline.one_core_a_thread(backbone.device):
        made = pipeline.both(load, encoder, batches, threads, ahead)
        x = pipeline.gather(made, total, progress.update)
    return x.reshape(len(images), count, -1)


def _images_at_once(batch_size: int, views: int) -> int:
    """Images whose views make up a batch."""
    return max(1, batch_size // max(1, views))


def _encoder(backbone: Backbone, preprocess: Preprocess, batch_size: int, encode: Encode | None) -> Encoder:
    """From bytes `(N, H, W, 3)` to embeddings `(N, D)`, or what `encode` makes of preprocessed images, or of bytes."""
    forward = encode or backbone.encode_images
    if getattr(forward, "of_bytes", False):
        return Encoder(forward, batch_size)
    return Encoder(lambda images: forward(preprocess.finish(images.to(backbone.device))), batch_size)


def embed_texts(
    backbone: Backbone, classnames: Sequence[str], templates: Sequence[str], batch_size: int, threads: int
) -> NDArray[np.float32]:
    """Text embeddings `(K, T, D)`, not normalised: each of K classes in each of T templates."""
    texts = prompts.prompts(classnames, templates)
    encoder = Encoder(backbone.encode_tokens, batch_size)
    work = (backbone.tokenizer(batch) for batch in pipeline.batches(texts, batch_size))
    with bar(len(texts), "texts", unit="texts") as progress, pipeline.one_core_a_thread(backbone.device):
        embeddings = pipeline.gather(pipeline.in_order(encoder, work, threads), len(texts), progress.update)
    return embeddings.reshape(len(classnames), len(templates), -1)
