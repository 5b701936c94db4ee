"""What the fuzz tests share: hostile values, mutations of right content, and what may come of reading them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from workflow.lib.errors import UserError, describe

Value = TypeVar("Value")
LONGEST = 610  # characters of an error's line

TEXTS = [
    "",
    " ",
    "x",
    "0",
    "-1",
    "all",
    "nan",
    "1e400",
    "../x",
    "..",
    "/etc/passwd",
    "a/b",
    "~nobody_of_this_name/x",
    "nul\0",
    "two\nlines",
    "trial\n",
    "\x1b[31m",
    "\u202egnp.exe",
    "\ud800",
    "</script>",
    "$\\%_&#{}~^",
    "{x}",
    "{dataset}",
    "ｄｉｇｉｔｓ",
    "dіgits",  # with a Cyrillic letter
    "é" * 300,
    "a" * 5000,
    "!!python/object/apply:os.system ['exit 3']",
]
NUMBERS = [0, 1, -1, 2, 7, 10**9, 10**30, 10**400, -(2**63), 0.5, -0.0, 1e308, 5e-324, True, False]
NOT_JSON = [float("nan"), float("inf"), -float("inf")]


def hostile() -> st.SearchStrategy[Any]:
    """Values that stand for everything a person, a program or an attacker may put in the place of another."""
    scalars = st.sampled_from([None, *NUMBERS, *NOT_JSON, *TEXTS]) | st.integers() | st.floats() | st.text(max_size=8)
    lists = st.lists(scalars, max_size=3)
    return scalars | lists | st.dictionaries(st.sampled_from(TEXTS), scalars | lists, max_size=3) | st.just([[[]]])


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every part of a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in parts for place in _places(part, (*at, key)))]


def _replaced(value: Any, place: tuple[Any, ...], change: Callable[[Any, Any], Any]) -> Any:
    """A copy of `value` in which `change(container, key)` made anew what holds the place."""
    key, *rest = place
    if not rest:
        return change(value.copy(), key)
    copy = value.copy()
    copy[key] = _replaced(value[key], tuple(rest), change)
    return copy


@st.composite
def mutated(draw: st.DrawFn, value: Any, most: int = 2) -> Any:
    """A JSON-like value after one change or a few: replaced, dropped, renamed, doubled, wrapped, made a text."""
    for _ in range(draw(st.integers(1, most))):
        places = _places(value)[1:]
        if not places:
            return draw(hostile())
        value = _replaced(value, draw(st.sampled_from(places)), draw(_changes()))
    return value


@st.composite
def _changes(draw: st.DrawFn) -> Callable[[Any, Any], Any]:
    kind = draw(st.sampled_from(["replace", "replace", "drop", "rename", "double", "wrap", "text", "negate"]))
    new = draw(hostile())
    name = draw(st.sampled_from(TEXTS))

    def change(container: Any, key: Any) -> Any:
        old = container[key]
        if kind == "drop" or (kind == "rename" and isinstance(container, dict)):
            del container[key]
            return container | {name: old} if kind == "rename" else container
        if kind == "double" and isinstance(container, list):
            return [*container, old]
        numeric = isinstance(old, int | float) and not isinstance(old, bool)
        made = {"wrap": [old], "text": str(old), "negate": -old if numeric else new}
        container[key] = made.get(kind, new)
        return container

    return change


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """Bytes after something happened to them: cut, flipped, overwritten, inserted, doubled, other line ends, a mark."""
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        to = min(len(content), at + draw(st.integers(1, 64)))
        insert = draw(
            st.sampled_from([b"\0", b"\xff\xfe", b"\t", b"\r", b"\xed\xa0\x80", b"\n", b"{", b"[" * 50, b"9" * 20])
        )
        flipped = bytes(byte ^ draw(st.integers(1, 255)) for byte in content[at : at + 1])
        content = draw(
            st.sampled_from(
                [
                    content[:at],
                    content[at:],
                    content[:at] + flipped + content[at + 1 :],
                    content[:at] + insert + content[at:],
                    content[:at] + content[to:],
                    content[:at] + bytes(to - at) + content[to:],
                    content[:to] + content[at:],
                    b"\xef\xbb\xbf" + content,
                    content.replace(b"\n", b"\r\n"),
                ]
            )
        )
    return content


def json_text(value: Any) -> bytes:
    """JSON as Python writes it: with NaN and Infinity, and lone surrogates as escapes."""
    return json.dumps(value).encode()


# Texts that parsers choke on, whatever the file is to hold.
TRAPS = {
    "nothing": b"",
    "zeros": bytes(100),
    "white space": b" \n\t",
    "null": b"null",
    "a number": b"7",
    "a text": b'"x"',
    "a list": b"[]",
    "an object": b"{}",
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "half": b'{"a": [1, 2',
    "a long number": b'{"a": ' + b"9" * 10_000 + b"}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "Latin-1": "{'é': 1}".encode("latin-1"),
    "a web page": b"<!DOCTYPE html><script>alert(1)</script>",
    "a pickle": b"cos\nsystem\n(S'touch sprung'\ntR.",
    "a program": b"#!/bin/sh\ntouch sprung\n",
}


def outcome(read: Callable[[], Value], path: Path | str) -> Value | None:
    """What `read` gives; None where it refuses in one line that names the file. Anything else is a finding."""
    try:
        return read()
    except (UserError, OSError) as error:
        line = describe(error)
    assert len(line) <= LONGEST, line
    assert line.isprintable(), line
    assert str(path) in line, line
    assert re.search(r"\w{3}", line.replace(str(path), "")), line  # it says something, too
    return None
