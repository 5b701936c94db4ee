"""What the check in a process of its own makes of the end of that process, however it ended."""

from collections.abc import Mapping
from typing import Any

import pytest

from methods.tools import apart
from methods.tools.check import PROPERTIES, meaning

NAMES = list(PROPERTIES)


def line(property_name: str, failure: str = "") -> dict[str, Any]:
    return {"verdict": {"name": property_name, "meaning": meaning(property_name), "failure": failure}}


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (0, "ended the process, with exit status 0"),
        (7, "ended the process, with exit status 7"),
        (-9, "ended the process: killed by SIGKILL"),
        (-11, "ended the process: killed by SIGSEGV"),
        (-50, "ended the process: killed by signal 50"),  # a real-time signal: it has no name
    ],
)
def test_how_a_process_ended_is_said(status: int, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_said", lambda asked: ([], status))
    with pytest.raises(LookupError) as caught:
        list(apart.check("mine.py", []))
    assert caught.value.args == (f"mine.py: its import {how}",)


def test_after_a_method_that_ended_the_process_the_others_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[Mapping[str, Any]] = []
    answers = [
        ([{"method": "one", "key": "1"}, line(NAMES[0]), line(NAMES[1], "no")], -6),
        ([{"method": "two", "key": "2"}, *map(line, NAMES), {"method": "three", "key": "3"}], 1),
        ([apart.END], 0),
    ]

    def said(asked: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
        asked_for.append({**asked, "done": list(asked["done"])})
        return answers[len(asked_for) - 1]

    monkeypatch.setattr(apart, "_said", said)
    found = {(name, key): verdicts for name, key, verdicts in apart.check("mine.py", ["other.py"])}
    assert [one["done"] for one in asked_for] == [[], ["one"], ["one", "two", "three"]]
    assert all((one["name"], one["plugins"]) == ("mine.py", ["other.py"]) for one in asked_for)
    assert list(found) == [("one", "1"), ("two", "2"), ("three", "3")]
    assert all([one.name for one in verdicts] == NAMES for verdicts in found.values())
    first, second, third = found.values()
    assert [one.failure for one in first[:3]] == [
        "",
        "no",
        "expected it to run, found that it ended the process: killed by SIGABRT",
    ]
    assert [one.skipped for one in first] == [False] * 3 + [True] * (len(NAMES) - 3)
    assert not any(one.failure or one.skipped for one in second)
    assert third[0].failure == "expected it to run, found that it ended the process, with exit status 1"
    assert all(one.skipped for one in third[1:])
