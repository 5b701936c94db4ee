"""Where a mistake is in a study file, and how it is put into words."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from workflow.lib.errors import UserError
from workflow.lib.study import schema
from workflow.lib.study.study import SCHEMA

FILE = """\
study: a
methods:
  one:
    ratio: [0.1,
            0.2]
  two: {lr: 1}
shots:
- 1
- 2
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], ""),
        (["seeds"], "seeds"),
        (["methods", "one", "ratio", 1], "methods.one.ratio[1]"),
        (["shots", 0], "shots[0]"),
    ],
)
def test_dotted_keys_read_as_one_would_say_them(keys: list[str | int], expected: str) -> None:
    assert schema.dotted(keys) == expected


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ([], 1),
        (["study"], 1),
        (["methods", "one"], 3),
        (["methods", "one", "ratio", 0], 4),
        (["methods", "one", "ratio", 1], 5),
        (["methods", "two", "lr"], 6),
        (["shots", 1], 9),
        (["methods", "two", "missing"], 6),  # as many of the keys as exist
        (["methods", "missing", "lr"], 2),
        (["shots", 7], 7),
    ],
)
def test_a_place_is_a_file_and_a_line(here: Path, keys: list[str | int], line: int) -> None:
    (here / "study.yaml").write_text(FILE)
    assert schema.place(yaml.safe_load(FILE), ["study.yaml"], keys) == f"study.yaml:{line}"


def test_the_file_that_knows_most_of_the_keys_is_named_and_of_equals_the_last(here: Path) -> None:
    (here / "first.yaml").write_text(FILE)
    (here / "second.yaml").write_text("\nmethods:\n  three: {}\nstudy: a")
    config = {**yaml.safe_load(FILE), "extra": 1}
    files = ["first.yaml", "second.yaml"]
    assert schema.place(config, files, ["methods", "one", "ratio"]) == "first.yaml:4"
    assert schema.place(config, files, ["study"]) == "second.yaml:4"
    assert schema.place(config, files, []) == "second.yaml:1"
    assert schema.place(config, files, ["extra"]) == "--config"


@pytest.mark.parametrize("value", [2, 1.0, True, "1", [1], None])
def test_a_value_that_is_not_the_file_s_came_from_the_command_line(here: Path, value: object) -> None:
    (here / "study.yaml").write_text(FILE)
    config = {"methods": {"two": {"lr": value}}}
    assert schema.place(config, ["study.yaml"], ["methods", "two", "lr"]) == "--config"


def test_without_a_file_everything_came_from_the_command_line() -> None:
    assert schema.place({}, [], []) == "--config"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\na: 1", 2),
        ("a: {b: 1,\n  b: 2}", 2),
        ("a:\n- {b: 1}\n- b: 1\n  b: 1", 4),
        ("a: &x {b: 1}\nc: *x\nd: {b: 1}\nc: 3", 4),
    ],
)
def test_a_key_that_stands_twice_in_one_mapping_is_found_at_any_depth(here: Path, text: str, line: int) -> None:
    (here / "study.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"^study\.yaml:{line}: the key '\w' stands there twice$"):
        schema.plain_data(["study.yaml"])


def test_a_key_may_stand_in_two_mappings(here: Path) -> None:
    (here / "study.yaml").write_text("a: {b: 1}\nb: {a: 1, c: [{b: 1}, {b: 1}]}")
    schema.plain_data(["study.yaml"])


def test_a_long_value_is_cut() -> None:
    assert schema.brief("x" * 100) == f"'{'x' * 56}..."
    assert schema.brief("a\n  b") == "'a b'"


def test_every_rule_of_the_schema_can_be_put_into_words() -> None:
    """A rule without words would end in a traceback in the one moment where it is needed."""
    whole = yaml.safe_load(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(whole)
    silent = {"$schema", "$ref", "$defs", "properties", "items", "propertyNames", "const", "description"}
    wrong = {"additionalProperties": {"z": 1}, "required": {}}
    for keyword, value, rule in _rules(whole):
        if keyword in silent or (keyword == "additionalProperties" and isinstance(value, dict)):
            continue
        problem = jsonschema.ValidationError(
            "", validator=keyword, validator_value=value, instance=wrong.get(keyword, 1), schema=rule
        )
        _, message = schema.explain(problem)
        assert message.startswith(("found", "no such key", "the key")), keyword


def _rules(schema: object) -> list[tuple[str, Any, dict[str, Any]]]:
    """All keywords of a schema at every depth, with their values and the mapping that they stand in."""
    if not isinstance(schema, dict):
        return []
    found = []
    for keyword, value in schema.items():
        found.append((keyword, value, schema))
        below = value.values() if keyword in ("properties", "$defs") else [value]
        for child in below:
            found += _rules(child)
    return found
