"""The shape of a study file, by JSON Schema, with errors that a person can act on and the line where they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from methods.params import nearest, show
from workflow.lib.errors import UserError

Key = str | int
WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def check(config: Mapping[str, Any], schema_file: Path, error: Callable[[Sequence[Key], str], Exception]) -> None:
    """Raise `error(keys, message)` for the first place of `config` that the schema doesn't allow."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    problems = sorted(validator.iter_errors(config), key=lambda problem: ([str(k) for k in problem.absolute_path]))
    if problems:
        raise error(*explain(problems[0]))


def explain(problem: jsonschema.ValidationError) -> tuple[list[Key], str]:
    """The keys that lead to a problem, and what was found and what is allowed, in one line."""
    keys: list[Key] = list(problem.absolute_path)
    schema: Any = problem.schema
    instance: Any = problem.instance
    value: Any = problem.validator_value
    if problem.validator == "additionalProperties":
        known = list(schema["properties"])
        wrong = next(str(key) for key in instance if key not in known)
        return [*keys, wrong], f"no such key; allowed: {', '.join(known)}{nearest(wrong, known)}"
    if problem.validator == "required":
        missing = next(name for name in value if name not in instance)
        close = nearest(missing, [key for key in instance if key not in schema["properties"]])
        return keys, f"the key '{missing}' is missing{close}"
    if problem.parent is not None and "propertyNames" in problem.parent.absolute_schema_path:
        keys = list(problem.parent.absolute_path)
    return keys, f"found {brief(problem.instance)}, allowed: {_allowed(problem)}"


def _allowed(problem: jsonschema.ValidationError) -> str:
    value: Any = problem.validator_value
    close = nearest(problem.instance, value) if problem.validator == "enum" else ""
    words: dict[str, Callable[[], str]] = {
        "type": lambda: WORDS[value],
        "enum": lambda: "one of " + ", ".join(map(show, value)) + close,
        "minimum": lambda: f"at least {value}",
        "maximum": lambda: f"at most {value}",
        "minItems": lambda: "a list with something in it",
        "minLength": lambda: "a text with something in it",
        "minProperties": lambda: "at least one entry",
        "uniqueItems": lambda: "a list in which nothing stands twice",
        "anyOf": lambda: "a whole number from 1 up, or 'all'",
        "pattern": lambda: PATTERNS[value],
    }
    return words[str(problem.validator)]()


PATTERNS = {
    "^[a-z0-9_]+$": "a name of a-z, 0-9 and _",
    "\\.py$": "the path of a .py file",
    "\\{\\}": "a text with {} where the class name goes",
}


def brief(value: Any) -> str:
    """A value in at most 60 characters."""
    text = " ".join(show(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(keys: Sequence[Key]) -> str:
    """`methods.clip_adapter.ratio[1]`."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys]
    return "".join(parts).removeprefix(".")


def place(files: Sequence[str | Path], keys: Sequence[Key]) -> str:
    """`config.yaml:12`, where the keys, or as many of them as exist, stand in the last file that has them."""
    for file in reversed(list(files)):
        depth, line = _find(yaml.compose(Path(file).read_text(encoding="utf-8")), keys)
        if depth or not keys:
            return f"{file}:{line}"
    return f"{files[-1]}" if files and not keys else "--config"


def _find(node: yaml.Node | None, keys: Sequence[Key], depth: int = 0, line: int = 1) -> tuple[int, int]:
    """How many of the keys exist below a node, and the line of the last of them."""
    if depth == len(keys) or node is None:
        return depth, line
    key = keys[depth]
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return _find(value, keys, depth + 1, name.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        child = node.value[key]
        return _find(child, keys, depth + 1, child.start_mark.line + 1)
    return depth, line


def unique_keys(files: Sequence[str | Path]) -> None:
    """Raise UserError for a key that stands twice in one mapping: YAML would silently take the last."""
    for file in files:
        for key in _repeated(yaml.compose(Path(file).read_text(encoding="utf-8"))):
            raise UserError(f"{file}:{key.start_mark.line + 1}: the key '{key.value}' stands there twice")


def _repeated(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key
            seen.add(key.value)
            yield from _repeated(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value)
