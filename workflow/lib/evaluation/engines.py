"""Which engine trains the replicas of a method. Imports none of them before it is asked to: they bring torch."""

from collections.abc import Sequence
from importlib import import_module
from typing import cast

from methods.contract.base import Engine, Method

MODULES = {"heads": "workflow.lib.engine.training"}


def imports(method: type[Method]) -> Sequence[str]:
    """The slow modules that a fit of the method needs: its engine, and those that it names itself."""
    return [*([MODULES[method.engine]] if method.engine else []), *method.imports]


def engine(method: type[Method]) -> Engine | None:
    """The engine of the method, or None for one that trains without."""
    return cast(Engine, import_module(MODULES[method.engine])) if method.engine else None
