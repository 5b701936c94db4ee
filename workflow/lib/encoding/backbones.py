"""Backbones: frozen CLIP models by open_clip name, config file or hub, with weights by tag or by path."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workflow.lib.encoding import preprocessing
from workflow.lib.errors import UserError

if TYPE_CHECKING:
    import torch

# key -> types and meaning. The Snakefile checks specs at parse time, so open_clip is imported only to load a model.
KEYS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "model": ((str,), "an open_clip name, the path of a model config .json, hf-hub:NAME or local-dir:FOLDER"),
    "pretrained": ((str,), "the open_clip tag of the weights, or beside weights: of their recipe"),
    "weights": ((str,), "the path of the weights: .safetensors, .pt, .pth or .bin"),
    "preprocess": ((dict,), "a mapping with some of mean, std, interpolation, resize_mode, size"),
    "quick_gelu": ((bool,), "whether the weights were trained with QuickGELU: true or false"),
    "precision": ((str,), "fp32, bf16 or fp16"),
    "batch_size": ((int,), "images in one forward pass"),
    "features": ((str,), "in place of a model: the path of features made elsewhere, path/{dataset}.npz"),
    "logit_scale": ((int, float), "a number beside features: exp(logit_scale), in place of what their file says"),
    "allow_zeros": ((bool,), "beside features, whether rows of zeros are let in: true or false"),
}
BESIDE_FEATURES = ("logit_scale", "allow_zeros")
PRECISIONS = ("fp32", "bf16", "fp16")
LARGEST_BATCH = 65536
LARGEST_SCALE = 1e6
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_QUICK = "QuickGELU"
_ACTIVATIONS = (_QUICK, "GELU", "NewGELU", "ReLU", "SiLU", "SwiGLU")  # as their classes' names begin
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
        kinds, meaning = KEYS[key]
        if type(value) not in kinds or value in ("", {}):  # bool is a kind of int to isinstance
            raise UserError(f"{key}: {value!r} is not {meaning}")
    if "features" in spec:
        _check_features(spec)
    else:
        _check_model(spec)


def _check_features(spec: Mapping[str, Any]) -> None:
    others = [key for key in spec if key not in ("features", *BESIDE_FEATURES)]
    if others:
        raise UserError(f"{others[0]}: has no meaning beside features, which stand in place of a model")
    scale = spec.get("logit_scale", 1)
    if not (math.isfinite(scale) and 0 < scale <= LARGEST_SCALE):
        raise UserError(f"logit_scale: {scale} is not a number above 0 and up to {LARGEST_SCALE:g}")


def expanded(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with `~` at the start of its paths made the home folder."""
    paths = {key: os.path.expanduser(spec[key]) for key in ("weights", "features") if key in spec}
    if "model" in spec:
        scheme = next((scheme for scheme in SCHEMES if spec["model"].startswith(scheme)), "")
        paths["model"] = scheme + os.path.expanduser(spec["model"].removeprefix(scheme))
    return {**spec, **paths}


def _check_model(spec: Mapping[str, Any]) -> None:
    if "model" not in spec:
        raise UserError("model: is wanted (or features)")
    if spec.get("precision", "fp32") not in PRECISIONS:
        raise UserError(f"precision: {spec['precision']!r} is none of {', '.join(PRECISIONS)}")
    if not 1 <= spec.get("batch_size", 1) <= LARGEST_BATCH:
        raise UserError(f"batch_size: {spec['batch_size']} is not between 1 and {LARGEST_BATCH}")
    if "weights" in spec and not spec["weights"].endswith(SUFFIXES):
        raise UserError(f"weights: {spec['weights']!r} ends in none of {', '.join(SUFFIXES)}")
    if alone := next((key for key in BESIDE_FEATURES if key in spec), ""):
        raise UserError(f"{alone}: has no meaning without features, which it is about")
    preprocessing.check(spec.get("preprocess", {}))
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
    `fingerprint` is the SHA-256 of the weights; `preprocessing` describes `preprocess` in JSON; `activation` names what
    stands between the layers, and `recipe` where both are from; `logit_scale` is exp(logit_scale).
    """

    model: torch.nn.Module
    preprocess: Any
    tokenizer: Any
    fingerprint: str
    preprocessing: str
    logit_scale: float
    device: torch.device
    dtype: torch.dtype
    activation: str = ""
    recipe: str = ""

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled embeddings `(N, D)`, float32, not normalised, of preprocessed images `(N, 3, H, W)`."""
        return self._encode("encode_image", images.to(self.device, self.dtype))

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings `(N, D)`, float32, not normalised, of N texts that the tokenizer made `(N, context)`."""
        return self._encode("encode_text", tokens.to(self.device))

    @property
    def visual(self) -> torch.nn.Module:
        """The image tower."""
        tower: torch.nn.Module = getattr(self.model, "visual")  # noqa: B009 - a module's attributes are of no known type
        return tower

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
    from workflow.lib.encoding import recipes, weights

    check(spec)
    spec = expanded(spec)
    place = choose_device(device) if isinstance(device, str) else device
    precision = precision or spec.get("precision", "fp32")
    name = weights.resolve_model(spec["model"])
    recipe = recipes.of(name, spec)
    tokenizer = weights.tokenizer(name)  # before gigabytes are fetched for a model that could read no text
    found = weights.find(name, spec, recipe)
    model = weights.build(name, found, precision, place)
    made = wrap(model, tokenizer, weights.fingerprint(model, found), precision, place)
    if spec.get("quick_gelu") and _QUICK not in made.activation:
        raise UserError(f"quick_gelu: true has no effect on {name}, whose layers have {made.activation}: leave it out")
    return replace(made, recipe=recipe.source)


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
        activation=activations(model),
    )


def activations(model: torch.nn.Module) -> str:
    """The activations that the model has, such as `QuickGELU` or `GELU and ReLU`."""
    names = {type(module).__name__ for module in model.modules()}
    return " and ".join(sorted(name for name in names if name.startswith(_ACTIVATIONS))) or "none"
