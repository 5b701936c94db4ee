"""Backbones: frozen CLIP models by open_clip name, config file or hub, with weights by tag or by path."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workflow.lib.errors import UserError

if TYPE_CHECKING:
    import torch

# key -> type and meaning. The Snakefile checks specs at parse time, so open_clip is imported only to load a model.
KEYS: Mapping[str, tuple[type, str]] = {
    "model": (str, "an open_clip name, the path of a model config .json, hf-hub:NAME or local-dir:FOLDER"),
    "pretrained": (str, "the open_clip tag of the weights, which also says how images are preprocessed"),
    "weights": (str, "the path of the weights: .safetensors, .pt, .pth or .bin"),
    "precision": (str, "fp32, bf16 or fp16"),
    "batch_size": (int, "images in one forward pass"),
    "features": (str, "in place of a model: the path of features made elsewhere, path/{dataset}.npz"),
}
PRECISIONS = ("fp32", "bf16", "fp16")
LARGEST_BATCH = 65536
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
SCHEMES = ("hf-hub:", "local-dir:")  # these bring their weights with them


def check(spec: Mapping[str, Any]) -> None:
    """Check the shape of a backbone's spec, without a look at any file.

    Raises `UserError`: the key, and what is allowed.
    """
    for key, value in spec.items():
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UserError(f"{key}: not a key of a backbone{hint} (known: {', '.join(KEYS)})")
        kind, meaning = KEYS[key]
        if type(value) is not kind or value == "":  # bool is a kind of int to isinstance
            raise UserError(f"{key}: {value!r} is not {meaning}")
    if "features" in spec:
        _check_features(spec)
    else:
        _check_model(spec)


def _check_features(spec: Mapping[str, Any]) -> None:
    others = [key for key in spec if key != "features"]
    if others:
        raise UserError(f"{others[0]}: has no meaning beside features, which stand in place of a model")


def _check_model(spec: Mapping[str, Any]) -> None:
    if "model" not in spec:
        raise UserError("model: is wanted (or features)")
    if spec.get("precision", "fp32") not in PRECISIONS:
        raise UserError(f"precision: {spec['precision']!r} is none of {', '.join(PRECISIONS)}")
    if not 1 <= spec.get("batch_size", 1) <= LARGEST_BATCH:
        raise UserError(f"batch_size: {spec['batch_size']} is not between 1 and {LARGEST_BATCH}")
    if "weights" in spec and not spec["weights"].endswith(SUFFIXES):
        raise UserError(f"weights: {spec['weights']!r} ends in none of {', '.join(SUFFIXES)}")
    _check_origin(spec)


def _check_origin(spec: Mapping[str, Any]) -> None:
    """Weights come with a hub's model or a folder's, and are named beside every other one."""
    named = [key for key in ("pretrained", "weights") if key in spec]
    brings_its_own = spec["model"].startswith(SCHEMES)
    if brings_its_own and named:
        raise UserError(f"{named[0]}: has no meaning beside {spec['model']}, which brings its weights")
    if not brings_its_own and not named:
        raise UserError("pretrained or weights: one is wanted, a model without weights knows nothing")


@dataclass(frozen=True)
class Backbone:
    """A frozen model on its device.

    `preprocess` takes a PIL image to a tensor `(3, H, W)`; `tokenizer` takes a list of texts to token ids;
    `fingerprint` is the SHA-256 of the weights; `preprocessing` describes `preprocess` in JSON; `logit_scale` is
    exp(logit_scale).
    """

    model: torch.nn.Module
    preprocess: Any
    tokenizer: Any
    fingerprint: str
    preprocessing: str
    logit_scale: float
    device: torch.device
    dtype: torch.dtype

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled embeddings `(N, D)`, float32, not normalised, of preprocessed images `(N, 3, H, W)`."""
        return self._encode("encode_image", images.to(self.device, self.dtype))

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings `(N, D)`, float32, not normalised, of N texts that the tokenizer made `(N, context)`."""
        return self._encode("encode_text", tokens.to(self.device))

    def _encode(self, method: str, batch: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            embeddings: torch.Tensor = getattr(self.model, method)(batch)
            return embeddings.float().cpu()


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU if there is one. Raises `UserError` where `cuda` is asked for and there is none."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but torch finds no GPU; use auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def load(spec: Mapping[str, Any], device: str | torch.device = "auto", precision: str | None = None) -> Backbone:
    """Load the model of `spec`; `precision` overrides what the spec says (fp32 if nothing).

    Raises `UserError` where a name, tag or file is unknown, weights don't fit the model or a download fails.
    """
    from workflow.lib.encoding import weights

    check(spec)
    place = choose_device(device) if isinstance(device, str) else device
    precision = precision or spec.get("precision", "fp32")
    name = weights.resolve_model(spec["model"])
    tokenizer = weights.tokenizer(name)  # before gigabytes are fetched for a model that could read no text
    found = weights.find(name, spec)
    model = weights.build(name, found, precision, place)
    return wrap(model, tokenizer, weights.fingerprint(model, found), precision, place)


def wrap(model: Any, tokenizer: Any, fingerprint: str, precision: str, device: torch.device) -> Backbone:
    """An open_clip model, made in `precision` on `device`, with all that belongs to it."""
    import torch
    from open_clip import get_input_dtype
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = model.visual.preprocess_cfg
    return Backbone(
        model=model.eval().requires_grad_(False),
        preprocess=image_transform_v2(PreprocessCfg(**config), is_train=False),
        tokenizer=tokenizer,
        fingerprint=fingerprint,
        preprocessing=json.dumps(config, sort_keys=True),
        logit_scale=float(model.logit_scale.detach().float().exp()),
        device=device,
        dtype=get_input_dtype(precision) or torch.float32,
    )
