"""Which engine trains the replicas of a method, and the text tower that some learn through.

Imports none of them before it is asked to: they bring torch, and the tower open_clip.
"""

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from methods.contract.base import Engine, Method
from methods.contract.encoder import TextEncoder

MODULES = {"heads": "workflow.lib.engine.training"}
TOWERS = "workflow.lib.towers.loading"


def imports(method: type[Method], needs: Collection[str] = ()) -> Sequence[str]:
    """The slow modules that a fit of the method, with these needs, takes: its engine, the towers, and its own."""
    towers = [TOWERS] if "text_encoder" in needs else []
    return [*([MODULES[method.engine]] if method.engine else []), *towers, *method.imports]


def engine(method: type[Method]) -> Engine | None:
    """The engine of the method, or None for one that trains without."""
    return cast(Engine, import_module(MODULES[method.engine])) if method.engine else None


def text_encoder(
    backbone: Mapping[str, Any], classnames: Sequence[str], metadata: Mapping[str, Any], device: str
) -> TextEncoder | str:
    """The text tower of the study's `backbone`, or the reason for which there is none for its features.

    `classnames` and `metadata` are the features'. Raises `UserError` where it can't be loaded.
    """
    if "model" not in backbone:
        return "they come without a model"
    names = metadata.get("names") or [[name] for name in classnames]
    found = import_module(TOWERS).text_encoder(backbone, {**metadata, "names": names}, device)
    return cast(TextEncoder | str, found)
