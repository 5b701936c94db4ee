"""The entries of `methods:` in a study file: parameters checked, and sweeps made variants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from methods.contract.base import Method
from methods.contract.params import brief, expand, nearest
from methods.tools import registry as plugins
from workflow.lib.study.located import LocatedError

MOST_VARIANTS = 1000  # of one method in one cell


@dataclass(frozen=True)
class MethodSpec:
    """One entry of `methods:`: its label, the plugin's entry, and its variants `(name, parameters)` in order.

    `tuned` names the one row of a sweep among whose variants the protocol chooses.
    """

    label: str
    entry: plugins.Entry
    variants: Sequence[tuple[str, dict[str, Any]]]
    tuned: str = ""

    @property
    def rows(self) -> list[str]:
        """The names of its rows in the tables."""
        return [self.tuned] if self.tuned else [name for name, _ in self.variants]

    @property
    def method(self) -> Method:
        return self.entry.method()

    @property
    def needs(self) -> frozenset[str]:
        """What some variant needs."""
        return frozenset().union(*(self.method.needs(params) for _, params in self.variants))

    @property
    def learns(self) -> bool:
        return self.entry.method.learns


def method_spec(registry: plugins.Registry, label: str, settings: dict[str, Any], regimes: Sequence[str]) -> MethodSpec:
    """An entry of `methods:`, checked: its method, its parameters, and the variants of a sweep."""
    name, tune = settings.pop("method", label), settings.pop("tune", False)
    if not isinstance(name, str) or name not in registry.methods:
        where = ["methods", label, "method"] if name != label else ["methods", label]
        raise LocatedError(where, _unknown(registry, name))
    entry = registry.methods[name]
    for key, value in settings.items():
        _parameter(entry.method, label, key, value)
    count = prod(len(value) for value in settings.values() if isinstance(value, list))
    if count > MOST_VARIANTS:
        raise LocatedError(["methods", label], f"found a sweep of {count} variants, allowed: at most {MOST_VARIANTS}")
    variants = [(variant, _complete(entry.method, given)) for variant, given in expand(_typed(entry.method, settings))]
    return MethodSpec(label, entry, variants, _tuned(label, tune, settings, regimes))


def _tuned(label: str, tune: Any, settings: Mapping[str, Any], regimes: Sequence[str]) -> str:
    """The name of the row of an entry with `tune: true`: `lr, ratio tuned`; empty without."""
    keys: list[str | int] = ["methods", label, "tune"]
    if not isinstance(tune, bool):
        raise LocatedError(keys, f"found {brief(tune)}, allowed: true or false")
    swept = [name for name, value in settings.items() if isinstance(value, list) and len(value) > 1]
    if tune and not swept:
        raise LocatedError(keys, "there is nothing to tune: no parameter has a list of several values")
    if tune and list(regimes) == ["last"]:
        allowed = "a `protocol.select` that chooses, such as support_cv"
        raise LocatedError(keys, f"`select: last` chooses nothing, so there is nothing to tune by; allowed: {allowed}")
    return f"{', '.join(swept)} tuned" if tune else ""


def _unknown(registry: plugins.Registry, name: Any) -> str:
    if reason := registry.why(name):
        return f"the plugin '{name}' can't be used: {reason}"
    return f"no method {brief(name)}; there are {', '.join(registry.methods)}{nearest(name, registry.methods)}"


def _parameter(method: type[Method], label: str, key: str, value: Any) -> None:
    """Check one parameter of one method: a single value, or a list of different ones."""
    keys: list[str | int] = ["methods", label, key]
    if key not in method.params:
        allowed = ", ".join(method.params) or "none"
        raise LocatedError(
            keys, f"{method.name} has no such parameter; allowed: {allowed}{nearest(key, method.params)}"
        )
    values = value if isinstance(value, list) else [value]
    if not values:
        raise LocatedError(keys, "an empty list; give a value, or several to sweep")
    for i, one in enumerate(values):
        place = [*keys, i] if isinstance(value, list) else keys
        try:
            checked = method.params[key].check(one)
        except ValueError as error:
            raise LocatedError(place, str(error)) from None
        if checked in [method.params[key].check(other) for other in values[:i]]:
            raise LocatedError(place, f"{brief(one)} stands there twice")


def _typed(method: type[Method], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in their declared types: `1` for a float parameter becomes 1.0."""

    def typed(key: str, value: Any) -> Any:
        param = method.params[key]
        return [param.check(one) for one in value] if isinstance(value, list) else param.check(value)

    return {key: typed(key, value) for key, value in settings.items()}


def _complete(method: type[Method], given: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sorted((method.defaults(given) | dict(given)).items()))
