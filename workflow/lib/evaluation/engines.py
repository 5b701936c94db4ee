"""Which engine trains the replicas of a method, and the towers that some learn through.

Imports none of them before it is asked to: they bring torch, and the towers open_clip.
"""

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from methods.contract.base import Engine, Method
from methods.contract.encoder import Model, TextEncoder

MODULES = {"heads": "workflow.lib.engine.training"}
TOWERS = "workflow.lib.towers.loading"
IN_THE_LOOP = frozenset({"text_encoder", "model"})  # needs for which a cell loads its backbone


def imports(method: type[Method], needs: Collection[str] = ()) -> Sequence[str]:
    """The slow modules that a fit of the method, with these needs, takes: its engine, the towers, and its own."""
    towers = [TOWERS] if IN_THE_LOOP & set(needs) else []
    return [*([MODULES[method.engine]] if method.engine else []), *towers, *method.imports]


def engine(method: type[Method]) -> Engine | None:
    """The engine of the method, or None for one that trains without."""
    return cast(Engine, import_module(MODULES[method.engine])) if method.engine else None


def towers(
    needs: Collection[str],
    backbone: Mapping[str, Any],
    classnames: Sequence[str],
    metadata: Mapping[str, Any],
    device: str,
) -> tuple[TextEncoder | str, Model | str]:
    """Of the study's `backbone` the text tower and the model as far as these needs name them, or why there is none.

    `classnames` and `metadata` are those of its features. Raises `UserError` where it can't be loaded.
    """
    wanted = IN_THE_LOOP & set(needs)
    if not wanted:
        return "", ""
    if "model" not in backbone:
        return "they come without a model", "they come without a model"
    names = metadata.get("names") or [[name] for name in classnames]
    return cast(
        tuple[TextEncoder | str, Model | str],
        import_module(TOWERS).towers(backbone, {**metadata, "names": names}, device),
    )
