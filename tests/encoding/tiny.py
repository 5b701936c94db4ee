"""A CLIP model that is made in a moment: random weights, 32 x 32 images, embeddings of 16 dimensions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def make(folder: Path, **changes: Any) -> dict[str, str]:
    """Write `tinyclip.json` and `tinyclip.safetensors`; returns a backbone's spec that names them."""
    config, weights = folder / "tinyclip.json", folder / "tinyclip.safetensors"
    config.write_text(json.dumps(CONFIG | changes))
    save_file(random_model(config).state_dict(), weights)
    return {"model": str(config), "weights": str(weights)}


def random_model(config: Path) -> torch.nn.Module:
    """The model of a config file with the same random weights every time."""
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    model: torch.nn.Module = open_clip.create_model(config.stem).eval()
    return model
