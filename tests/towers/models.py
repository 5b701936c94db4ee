"""Small models of open_clip with random weights, large enough to matter, and tokenizers for them."""

from functools import cache
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP

WORDS = ["a", "photo", "of", "the", "cat", "dog", "red", "panda", "707-320", "van", "X"]
NAMES = ["cat", "red panda", "dog", "707-320"]
VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 3}
FEW = {**TEXT, "vocab_size": 100}
KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "openai": (CLIP, TEXT),
    "custom": (CustomTextCLIP, {**TEXT, "proj_bias": True, "proj_type": "linear", "ls_init_value": 0.5}),
    "eos": (CustomTextCLIP, {**FEW, "pool_type": "eos", "eos_id": 2}),
    "odd blocks": (CustomTextCLIP, {**TEXT, "qk_norm": True}),
    "siglip": (CustomTextCLIP, {**FEW, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}),
    "first": (CustomTextCLIP, {**FEW, "no_causal_mask": True, "pool_type": "first"}),
}
CAUSAL = [kind for kind, (_, text) in KINDS.items() if not text.get("no_causal_mask")]


def model(kind: str, quick_gelu: bool = False) -> Any:
    """A model of that kind; every parameter of its text tower is random and far from zero."""
    build, text = KINDS[kind]
    torch.manual_seed(3)
    made = build(16, VISION, text, quick_gelu=quick_gelu).eval()
    for parameter in getattr(made, "text", made).parameters():
        if parameter.dim() < 2:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
        else:
            parameter.data.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return made


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
