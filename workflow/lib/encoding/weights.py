"""The model and the weights behind a backbone's spec: found, downloaded, checked and loaded by open_clip."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf

from methods.contract.params import brief
from workflow.lib import files
from workflow.lib.encoding import checkpoints
from workflow.lib.encoding.recipes import Recipe
from workflow.lib.errors import UserError, one_line

log = logging.getLogger(__name__)

_CONFIG_KEYS = ("embed_dim", "vision_cfg", "text_cfg")
_REMOTE_CODE = "trust_remote_code"  # with it transformers runs the Python files beside a tokenizer
_LARGEST_SIZE = 1_000_000  # beyond it building the model takes all memory or all day
_INSTALL = "; install what requirements.lock lists: python -m pip install -r requirements.lock"
_FETCH = "; without a network, bring the hub's cache (HF_HOME) from a machine that has loaded this model"


@dataclass(frozen=True)
class Found:
    """Weights: their file (`None` where open_clip finds them beside the config), and what they want."""

    file: Path | None
    recipe: Recipe


def resolve_model(model: str) -> str:
    """The name under which open_clip knows `model`. A config file is registered by its stem, a hub's is fetched.

    Raises `UserError` where there is no such model, file, folder or connection.
    """
    if model.startswith("hf-hub:"):
        _config(_from_hub(model.removeprefix("hf-hub:"), "open_clip_config.json"))
        return model
    if model.startswith("local-dir:"):
        if not (config := Path(model.removeprefix("local-dir:")) / "open_clip_config.json").is_file():
            raise UserError(f"model: no file {config}")
        _config(config)
        return model
    if model.endswith(".json"):
        return _register(Path(model))
    name = model.replace("/", "-")  # as open_clip reads ViT-B/32
    known = open_clip.list_models()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        raise UserError(f"model: open_clip knows no {model!r}; nearest: {', '.join(near) or 'none'}")
    return name


def _register(config: Path) -> str:
    if not config.is_file():
        raise UserError(f"model: no file {config}")
    content = _config(config)
    missing = [key for key in _CONFIG_KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"model: {config} lacks {', '.join(missing)}: not an open_clip model config")
    for key in _CONFIG_KEYS[1:]:
        if not isinstance(content[key], dict):
            raise UserError(f"model: {config}: {key}: found {brief(content[key])}, allowed: a mapping")
    open_clip.add_model_config(config)
    return config.stem


def _config(path: Path) -> Any:
    """The content of a config file. Raises `UserError` where it is no JSON, or would have a hub's code run."""
    try:
        content = files.read_json(path)
    except UserError as error:
        raise UserError(f"model: {error}") from error
    if _REMOTE_CODE in json.dumps(content):
        raise UserError(f"model: {path}: {_REMOTE_CODE}: not allowed: a model is data")
    if (largest := max(_numbers(content), default=0)) > _LARGEST_SIZE:
        raise UserError(f"model: {path}: found the size {brief(largest)}, allowed: at most {_LARGEST_SIZE}")
    return content


def _numbers(value: Any) -> Iterator[int]:
    """Every whole number in a config: widths, layers, words."""
    if type(value) is int:
        yield value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _numbers(part)


def tokenizer(name: str) -> Any:
    """The model's tokenizer. Raises `UserError` where it needs a package or a download that is not available."""
    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:  # a config's text_cfg goes to it unchecked
        remedy = _INSTALL if isinstance(error, ImportError) else _FETCH if isinstance(error, OSError) else ""
        raise UserError(
            f"model: the tokenizer of {name} can't be loaded: {checkpoints.reason(error)}{remedy}"
        ) from error


def find(name: str, spec: Mapping[str, Any], recipe: Recipe) -> Found:
    """The weights that `spec` names for the model, downloaded where they are named by a tag or a hub.

    With both `pretrained` and `weights` the tag names the recipe and the path says where the file lies.
    """
    if "weights" in spec:
        path = Path(spec["weights"])
        if not path.is_file():
            raise UserError(f"weights: no file {path}")
        return Found(path.absolute(), recipe)
    if name.startswith("hf-hub:"):
        return Found(_from_hub(name.removeprefix("hf-hub:"), None), recipe)
    if name.startswith("local-dir:"):
        return Found(None, recipe)
    return Found(_download(name, spec["pretrained"]), recipe)


def _download(name: str, tag: str) -> Path:
    config = open_clip.get_pretrained_cfg(name, tag)
    place = config.get("hf_hub") or config.get("url")
    log.info("fetching the weights of %s %s from %s, unless they are in the cache", name, tag, place)
    try:
        return Path(download_pretrained(config))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"pretrained: could not download the weights of {name} {tag} from {place} ({_root_cause(error)}); "
            "fetch them elsewhere and add `weights: path`"
        ) from error


def _from_hub(repository: str, filename: str | None) -> Path:
    """A file of a hub's repository; the weights where no name is given."""
    log.info("fetching %s of %s from the hub, unless it is in the cache", filename or "the weights", repository)
    try:
        return Path(download_pretrained_from_hf(repository, filename=filename))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"model: could not download hf-hub:{repository} ({_root_cause(error)}); fetch its open_clip_config.json "
            "and weights elsewhere and give `model: local-dir:FOLDER`"
        ) from error


def _root_cause(error: BaseException) -> str:
    """What went wrong at the bottom of a chain of exceptions: the outer ones only say that something did."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return one_line(error) or type(error).__name__


def build(name: str, found: Found, precision: str, device: torch.device) -> Any:
    """The model with its weights. Raises `UserError` where they can't be read or don't fit."""
    by_path = found.file is not None and not name.startswith("hf-hub:")
    recipe = found.recipe
    activation = {} if recipe.quick_gelu is None else {"quick_gelu": recipe.quick_gelu}
    try:
        with checkpoints.loadable(found.file if by_path else None) as file, checkpoints.stretching_is_told():
            return open_clip.create_model(
                name,
                pretrained=str(file) if file else None,
                precision=precision,
                device=device,
                force_preprocess_cfg=dict(recipe.preprocess),
                force_image_size=recipe.size,
                require_pretrained=True,
                **activation,
            )
    except Exception as error:  # a file that holds something else fails anywhere between unzipping and resizing
        raise UserError(checkpoints.complaint(name, found.file, error)) from error


def fingerprint(model: torch.nn.Module, found: Found) -> str:
    """SHA-256 of the weights: of their file where it is known, else of the loaded tensors."""
    if found.file is not None:
        return files.sha256(found.file)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
