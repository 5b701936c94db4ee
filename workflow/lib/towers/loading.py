"""The towers of a study's backbone, loaded once a job; and which models' towers can be run from tokens on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from json import dumps, loads
from typing import Any

from workflow.lib.encoding import backbones, weights
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.errors import UserError
from workflow.lib.towers import blocks
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

__all__ = ["towers", "unsupported", "weights"]  # `weights` brings open_clip before a fit's clock starts


def towers(spec: Mapping[str, Any], metadata: Mapping[str, Any], device: str) -> tuple[Encoder | str, TwoTowers | str]:
    """The frozen text tower of the backbone `spec`, and both towers to train, or why one can't be run; in float32.

    `metadata` are those of the features: the names of the classes, the templates, the fingerprint of the weights.
    Raises `UserError` where the model can't be loaded, or has other weights than the features were made with.
    """
    loaded = _loaded(dumps(spec, sort_keys=True), device)
    made_with = metadata.get("weights_sha256", loaded.fingerprint)
    if made_with != loaded.fingerprint:
        raise UserError(
            f"{spec.get('weights', spec['model'])}: the weights are {loaded.fingerprint[:12]}…, and the features were "
            f"made with {made_with[:12]}…: delete the features, and the next run makes them anew"
        )
    names, templates = metadata["names"], metadata.get("templates", ())
    encoder: Encoder | str
    if reason := unsupported(loaded.model):
        encoder = f"the text tower of {spec['model']} can't be run from tokens on: {reason}"
    else:
        encoder = Encoder(Tower(loaded.model), loaded.tokenizer, [own[0] for own in names], templates)
    try:
        return encoder, TwoTowers(loaded, names, templates)
    except ValueError as error:
        return encoder, str(error)


@lru_cache(maxsize=1)
def _loaded(spec: str, device: str) -> Backbone:
    return backbones.load(loads(spec), device, precision="fp32")


def unsupported(model: Any) -> str:
    """Why the text tower of a model can't be run from tokens on; empty where it can."""
    part = getattr(model, "text", model)
    missing = [name for name in ("token_embedding", "positional_embedding", "transformer") if not hasattr(part, name)]
    if missing:
        return f"a {type(part).__name__} has no {missing[0]} of open_clip's kind"
    if getattr(part, "cls_emb", None) is not None and not (part.attn_mask is not None and blocks.fit(part.transformer)):
        return "it has a class token behind the text, as CoCa's, and other blocks or another mask"
    if getattr(part, "use_pad_mask", False):
        return "it masks padding"
    return ""
