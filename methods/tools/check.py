"""A check of the contract that every method keeps, for plugin authors: `check(MyMethod)` in a test of their own.

Each property is a function that raises ContractError with what was expected and what was found. The problems are small,
and a parameter `epochs` or `steps` is cut short, so that a trained method takes seconds.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from methods.contract.base import Method
from methods.tools import behaviour, declared, isolation
from methods.tools.problems import ContractError
from workflow.lib.errors import one_line

__all__ = ["PROPERTIES", "ContractError", "Verdict", "check", "verdicts"]


@dataclass(frozen=True)
class Verdict:
    """One property: whether it holds, and if not, why. `skipped` where an earlier failure leaves nothing to test."""

    name: str
    meaning: str
    failure: str = ""
    skipped: bool = False


PROPERTIES: dict[str, Callable[[type[Method]], None]] = {
    function.__name__: function
    for function in (
        declared.parameters,
        declared.needs,
        declared.hooks,
        behaviour.shapes,
        behaviour.finite,
        isolation.inputs_untouched,
        behaviour.repeatable,
        behaviour.no_probabilities,
        isolation.own_support_alone,
        isolation.alone_as_in_company,
        behaviour.one_query_at_a_time,
        behaviour.by_hand,
        behaviour.shipped,
        behaviour.classes_permuted,
        behaviour.sizes,
        behaviour.better_than_chance,
    )
}


# What fails one of these can't be compared with itself, which is how the properties after them are tested.
BASIC = ("shapes", "finite", "inputs_untouched", "repeatable")


def verdicts(method: type[Method]) -> Iterator[Verdict]:
    """Every property of a method, in order, as it is found."""
    hopeless = False
    for name in PROPERTIES:
        found = skipped(name) if hopeless else verdict(method, name)
        hopeless |= bool(found.failure) and name in BASIC
        yield found


def skipped(name: str) -> Verdict:
    """Of a property that was not tested."""
    return Verdict(name, meaning(name), skipped=True)


def meaning(name: str) -> str:
    """What a property asks of a method."""
    return (PROPERTIES[name].__doc__ or "").strip()


def verdict(method: type[Method], name: str) -> Verdict:
    """Whether a method has a property. Whatever comes out of it is a failure, `sys.exit` too."""
    try:
        PROPERTIES[name](method)
    except ContractError as violation:
        return Verdict(name, meaning(name), str(violation))
    except (Exception, SystemExit) as error:
        return Verdict(name, meaning(name), f"expected it to run, found {type(error).__name__}: {one_line(error)}")
    return Verdict(name, meaning(name))


def check(method: type[Method]) -> None:
    """Raise ContractError with the first property that a method doesn't keep."""
    for found in verdicts(method):
        if found.failure:
            raise ContractError(f"{method.__name__}: {found.name} ({found.meaning}): {found.failure}")
