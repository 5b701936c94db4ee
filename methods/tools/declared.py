"""Properties of what a method declares: its parameters, its needs, the hooks that it overrides."""

import ast
import json
import sys
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from methods.contract import needs as known
from methods.contract.base import Method
from methods.contract.gridded import GridMethod
from methods.contract.params import nearest
from methods.contract.towers import TowerMethod
from methods.contract.trained import TrainedMethod
from methods.contract.tuned import TunedMethod
from methods.tools.problems import ContractError, defaults, settings

RESERVED = ("method",)  # a key of an entry of `methods:` in the study file
BASES: tuple[type[Method], ...] = (Method, TrainedMethod, TowerMethod, TunedMethod, GridMethod)
ELSEWHERE = ("forward", "predict", "predict_proba", "train", "training_step", "optimizer", "scheduler")
CLOSE = 0.75  # of the letters: `penality` and `penalty`, `classify` and `classifier`


def parameters(method: type[Method]) -> None:
    """every parameter has a name that a study can set and a meaning; every default is allowed and survives JSON"""
    values = defaults(method)
    if set(values) != set(method.params):
        raise ContractError(f"expected defaults for {sorted(method.params)}, found {sorted(values)}")
    for name, param in method.params.items():
        if not name.isidentifier() or name in RESERVED:
            raise ContractError(f"expected a name for a parameter, and not '{RESERVED[0]}', found {name!r}")
        if not param.help:
            raise ContractError(f"expected a line of meaning for '{name}', found none")
        _survives(method, name, values[name])
    _named(method)


def _survives(method: type[Method], name: str, value: Any) -> None:
    try:
        checked = method.params[name].check(json.loads(json.dumps(value)))
    except (ValueError, TypeError) as error:
        raise ContractError(f"expected the default of '{name}' to be allowed and to survive JSON: {error}") from error
    if checked != value:
        raise ContractError(f"expected '{name}' to survive JSON, found {checked!r} for {value!r}")


def _named(method: type[Method]) -> None:
    """Where a class names parameters, they exist."""
    blends = getattr(method, "blends", "")
    named = {place: getattr(method, place, ()) for place in ("scalars", "alike", "grid")}
    for place, names in (named | {"blends": (blends,) if blends else ()}).items():
        for name in names:
            if name not in method.params:
                known = f"expected `{place}` to name parameters, found {name!r}"
                raise ContractError(f"{known}{nearest(name, method.params)}")


def needs(method: type[Method]) -> None:
    """`needs` names what there can be, with every choice and switch"""
    for values in settings(method):
        for name in method().needs(values):
            if not known.exists(name):
                near = nearest(name, known.NAMED)
                raise ContractError(f"expected needs among {known.KNOWN}, found {name!r}{near}")
        _of_what_x_is(method().needs(values))


def _of_what_x_is(needs: Collection[str]) -> None:
    found = known.arrays(needs)
    if len(found) > 1:
        one = "one of pre, spatial_logits, pixels and blocks<n> in the needs, which set what x is"
        raise ContractError(f"expected {one}; found {' and '.join(found)}")
    if "views" in needs and any(map(known.is_image, found)):
        raise ContractError(f"expected no views beside {found[0]}, of which there are none")


def hooks(method: type[Method]) -> None:
    """no hook is misspelt, and none is overridden that its base does not have"""
    there = {name for base in BASES if issubclass(method, base) for name in _public(base)}
    elsewhere = {name for base in BASES for name in _public(base)} - there
    for cls, name in _own(method):
        meant = "" if name in there else _meant(name, there, elsewhere)
        if meant and not _used(method, name):
            found = f"found `{cls.__name__}.{name}`: {meant}"
            raise ContractError(f"expected hooks of its base, and names that its own code uses; {found}")


def _public(cls: type) -> set[str]:
    """What a class and its bases have and may have, by name."""
    names = {*dir(cls), *(name for base in cls.__mro__ for name in getattr(base, "__annotations__", {}))}
    return {name for name in names if not name.startswith("_")}


def _own(method: type[Method]) -> Iterator[tuple[type, str]]:
    """The public names that a class of the method brings in."""
    for cls in method.__mro__:
        if not cls.__module__.startswith("methods.contract.") and cls is not object:
            yield from ((cls, name) for name in vars(cls) if not name.startswith("_"))


def _meant(name: str, there: Collection[str], elsewhere: Collection[str]) -> str:
    """What was probably meant by a name that the base does not have; nothing where it looks like the author's own."""
    public = sorted(there)
    if name in elsewhere:
        owner = next(base for base in BASES if hasattr(base, name))
        return f"only {owner.__name__} has it"
    if close := get_close_matches(name, public, n=1, cutoff=CLOSE):
        return f"did you mean `{close[0]}`?"
    return f"there is no such hook; there are {', '.join(public)}" if name in ELSEWHERE else ""


def _used(method: type[Method], name: str) -> bool:
    """Whether the code of a method uses a name as an attribute. The misspelt hook is the one that nobody calls."""
    return any(name in _attributes(cls, {base.__name__ for base in method.__mro__}) for cls in method.__mro__)


def _attributes(cls: type, family: Collection[str]) -> set[str]:
    """What the file of a class takes as attributes, the file's other classes aside; nothing where there is no file."""
    file = str(getattr(sys.modules.get(cls.__module__), "__file__", ""))
    if not file.endswith(".py") or cls.__module__.startswith("methods.contract."):
        return set()
    body = ast.parse(Path(file).read_bytes()).body
    ours = [node for node in body if not isinstance(node, ast.ClassDef) or node.name in family]
    return {found.attr for node in ours for found in ast.walk(node) if isinstance(found, ast.Attribute)}
