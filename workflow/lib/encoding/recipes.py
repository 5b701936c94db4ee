"""What a model's weights want: how images become numbers, and which activation stands between the layers.

Weights by path don't say it of themselves. open_clip's tags do, for the models that it knows: a tag named beside a path
says whose recipe the file follows, and where all tags of a model agree there is only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import open_clip

from workflow.lib.errors import UserError

KEYS = ("mean", "std", "interpolation", "resize_mode")  # the size is the model's own


@dataclass(frozen=True)
class Recipe:
    """`preprocess` has those of `KEYS` that are known, `quick_gelu` the activation; what is not known (`None` for the
    activation) is as in the model's config, or open_clip's default. `size` (pixels, or height and width) is the model's
    own unless it is given. `source` says in words where this is from.
    """

    preprocess: Mapping[str, Any] = field(default_factory=dict)
    quick_gelu: bool | None = None
    size: int | tuple[int, int] | None = None
    source: str = "the model's own config"


def of(name: str, spec: Mapping[str, Any]) -> Recipe:
    """The recipe for a backbone's `spec`, whose model open_clip knows as `name`.

    That of the tag `pretrained`, or the one that all tags of the model share; what the spec says by hand goes before.
    Raises `UserError` for an unknown tag, and for weights by path where the tags of the model disagree on what the spec
    does not say.
    """
    by_hand = dict(spec.get("preprocess", {}))
    size = by_hand.pop("size", None)
    found = _known(name, spec)
    said = [key for key in ("preprocess", "quick_gelu") if key in spec]
    return Recipe(
        preprocess={**found.preprocess, **by_hand},
        quick_gelu=spec.get("quick_gelu", found.quick_gelu),
        size=tuple(size) if isinstance(size, Sequence) else size,
        source=found.source + (f", {' and '.join(said)} by hand" if said else ""),
    )


def _known(name: str, spec: Mapping[str, Any]) -> Recipe:
    """What is known of the weights but for what the spec says by hand."""
    if "pretrained" in spec:
        return of_tag(name, spec["pretrained"])
    if "weights" in spec:
        return _shared(name, spec)
    return Recipe()


def of_tag(name: str, tag: str) -> Recipe:
    """The recipe of a tag. Raises `UserError`, with the model's tags, where there is none of the name."""
    config = open_clip.get_pretrained_cfg(name, tag)
    if not config:
        tags = ", ".join(_tags(name)) or "none; give weights: path"
        raise UserError(f"pretrained: {name} has no tag {tag!r}; its tags: {tags}")
    preprocess = {key: _plain(config[key]) for key in KEYS if key in config}
    # A tag says only that its weights want QuickGELU: the config of roberta-ViT-B-32 says it in the place of its tag.
    return Recipe(preprocess, bool(config.get("quick_gelu")) or _of_config(name), source=f"the tag {tag}")


def _tags(name: str) -> list[str]:
    return list(open_clip.list_pretrained_tags_by_model(name))


def _of_config(name: str) -> bool:
    return bool((open_clip.get_model_config(name) or {}).get("quick_gelu", False))


def _plain(value: Any) -> Any:
    """Means and deviations as lists of floats, so that equal ones are equal whatever they were written as."""
    return [float(each) for each in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _shared(name: str, spec: Mapping[str, Any]) -> Recipe:
    """What all tags of a model agree on, and its config with them. Raises `UserError` where they don't."""
    recipes = {tag: of_tag(name, tag) for tag in _tags(name)}
    if not recipes:
        return Recipe(source="the model's config, and open_clip's defaults beside it: no tag of it is known")
    first = next(iter(recipes.values()))
    differing = [
        key
        for key in KEYS
        if key not in spec.get("preprocess", {})
        and any(recipe.preprocess.get(key) != first.preprocess.get(key) for recipe in recipes.values())
    ]
    activations = {_of_config(name), *(recipe.quick_gelu for recipe in recipes.values())}
    if len(activations) > 1 and "quick_gelu" not in spec:
        differing.append("quick_gelu")
    if differing:
        raise UserError(_ambiguous(name, differing, recipes))
    return Recipe(first.preprocess, first.quick_gelu, source=f"the tags of {name}, which agree")


def _ambiguous(name: str, differing: Sequence[str], recipes: Mapping[str, Recipe]) -> str:
    """The tags of a model, those with QuickGELU marked by a star where that is what differs."""
    starred = "quick_gelu" in differing
    first = sorted(recipes, key=lambda tag: not recipes[tag].quick_gelu)  # a long list is cut in the middle
    tags = ", ".join(f"{tag}{'*' * (starred and bool(recipes[tag].quick_gelu))}" for tag in first)
    inside = [key for key in differing if key in KEYS]
    said = [f"`preprocess: {{{', '.join(inside)}}}`"] * bool(inside) + ["`quick_gelu: true | false`"] * starred
    return (
        f"weights: {name} and its tags differ in {', '.join(differing)}, and the file does not say its own; add "
        f"`pretrained: TAG` or {' and '.join(said)}; tags{' (*: QuickGELU)' * starred}: {tags}"
    )
