"""Small models of open_clip with random weights, large enough to matter, and tokenizers for them."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transform import PreprocessCfg

from workflow.lib.encoding import backbones
from workflow.lib.encoding.backbones import Backbone

WORDS = ["a", "photo", "of", "the", "cat", "dog", "red", "panda", "707-320", "van", "X"]
NAMES = ["cat", "red panda", "dog", "707-320"]
VISION: Mapping[str, Any] = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
DEEP = {**VISION, "layers": 3, "mlp_ratio": 2.0}
COCA = {**DEEP, "attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2}
RESNET: Mapping[str, Any] = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
FEW = {**TEXT, "vocab_size": 100}
MENDED = "correct_cls_mask"
KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "openai": (CLIP, TEXT),
    "custom": (CustomTextCLIP, {**TEXT, "proj_bias": True, "proj_type": "linear", "ls_init_value": 0.5}),
    "eos": (CustomTextCLIP, {**FEW, "pool_type": "eos", "eos_id": 2}),
    "coca": (CustomTextCLIP, {**TEXT, "embed_cls": True}),
    "coca, its mask mended": (CustomTextCLIP, {**TEXT, "embed_cls": True, MENDED: True}),
    "odd blocks": (CustomTextCLIP, {**TEXT, "qk_norm": True}),
    "siglip": (CustomTextCLIP, {**FEW, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}),
    "first": (CustomTextCLIP, {**FEW, "no_causal_mask": True, "pool_type": "first"}),
}
CAUSAL = [kind for kind, (_, text) in KINDS.items() if not text.get("no_causal_mask")]


def model(kind: str, quick_gelu: bool = False, vision: Mapping[str, Any] = VISION) -> Any:
    """A model of that kind; every parameter of its text tower is random and far from zero."""
    build, text = KINDS[kind]
    torch.manual_seed(3)
    made = build(16, dict(vision), {key: text[key] for key in text if key != MENDED}, quick_gelu=quick_gelu).eval()
    if text.get(MENDED):  # which no configuration says
        made.text.correct_cls_mask = True
    for parameter in getattr(made, "text", made).parameters():
        if parameter.dim() < 2:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        else:
            parameter.data.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return made


def backbone(kind: str, vision: Mapping[str, Any] = DEEP) -> Backbone:
    """A model as it is loaded, on the CPU, whose image tower too is far from what it is made as.

    A ResNet's is smooth: where its activations have a kink, rounding would decide on which side of it a number is.
    """
    made = model(kind, vision=vision)
    for name, parameter in made.visual.named_parameters():
        if parameter.dim() < 2:
            parameter.data.add_(torch.randn_like(parameter) * 0.2)
        if "positional" in name:
            parameter.data.copy_(torch.randn_like(parameter))
    for module in made.visual.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # its statistics are those of the next batch
        for name in [name for name, inner in module.named_children() if isinstance(inner, torch.nn.ReLU)]:
            setattr(module, name, torch.nn.GELU())
    made.visual.train()(torch.randn(32, 3, vision["image_size"], vision["image_size"]))
    made.eval()
    made.visual.preprocess_cfg = asdict(PreprocessCfg(size=vision["image_size"]))
    return backbones.wrap(made, tokenizer(kind), "0" * 64, "fp32", torch.device("cpu"))


@cache
def tokenizer(kind: str) -> Any:
    """CLIP's own, with a start and an end; for the others one of whole words that ends in padding, as SigLIP's."""
    length = KINDS[kind][1]["context_length"]
    if KINDS[kind][1]["vocab_size"] > 100:
        return open_clip.SimpleTokenizer(context_length=length)
    end = 2 if kind == "eos" else 1

    def tokens(texts: list[str]) -> torch.Tensor:
        words = [[10 + WORDS.index(word.rstrip(".")) for word in text.split()][: length - 1] for text in texts]
        return torch.tensor([[*row, end, *[1] * (length - len(row) - 1)] for row in words])

    return tokens
