"""The shape of a study file, by JSON Schema, with errors that a person can act on and the line where they are."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from methods.params import nearest, show
from workflow.lib.errors import UserError, one_line

Key = str | int
WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
# JSON Schema counts 1.0 as an integer and NaN as a number; as a number of shots or minutes they are mistakes.
_TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "integer": lambda _, value: type(value) is int,
        "number": lambda _, value: type(value) in (int, float) and math.isfinite(value),
    }
)
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]  # its types leave it out
    jsonschema.Draft202012Validator, type_checker=_TYPES
)


def check(config: Mapping[str, Any], schema_file: Path, error: Callable[[Sequence[Key], str], Exception]) -> None:
    """Raise `error(keys, message)` for the first place of `config` that the schema doesn't allow."""
    schema = yaml.safe_load(schema_file.read_text(encoding="utf-8"))
    problems = sorted(_Validator(schema).iter_errors(config), key=lambda problem: list(map(str, problem.absolute_path)))
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
    if "propertyNames" in problem.absolute_schema_path:
        keys.append(str(instance))
    return keys, f"found {brief(problem.instance)}, allowed: {_allowed(problem)}"


def _allowed(problem: jsonschema.ValidationError) -> str:
    value: Any = problem.validator_value
    close = nearest(problem.instance, value) if problem.validator == "enum" else ""
    words: dict[str, Callable[[], str]] = {
        "type": lambda: WORDS[value if isinstance(value, str) else value[0]],
        "enum": lambda: "one of " + ", ".join(map(show, value)) + close,
        "minimum": lambda: f"at least {value}",
        "maximum": lambda: f"at most {value}",
        "minItems": lambda: "a list with something in it",
        "minProperties": lambda: "at least one entry",
        "uniqueItems": lambda: "a list in which nothing stands twice",
        "anyOf": lambda: _one_of_several(problem),
        "pattern": lambda: PATTERNS[value],
    }
    return words[str(problem.validator)]()


def _one_of_several(problem: jsonschema.ValidationError) -> str:
    """What the schema says of its alternatives in words, and the nearest of their names."""
    schema: Any = problem.schema
    lists: list[Any] = [inner.validator_value for inner in problem.context or [] if inner.validator == "enum"]
    return str(schema["description"]) + nearest(problem.instance, [name for names in lists for name in names])


PATTERNS = {
    "^[a-z0-9_]+$": "a name of a-z, 0-9 and _",
    "\\.py$": "the path of a .py file",
    "\\.json$": "the path of a .json file",
    "\\.csv$": "the path of a .csv file",
    "^[a-z0-9_]+\\.[a-z0-9_]+$": "a table's name, <dataset>.<backbone>",
    "^[^{}]+$": "the path of a folder, without { and }",
    "^[^{}]*\\{\\}[^{}]*$": "a text with one {}, where the class name goes",
}


def brief(value: Any) -> str:
    """A value in at most 60 characters."""
    text = one_line(show(value))
    return text if len(text) <= 60 else text[:57] + "..."


def dotted(keys: Sequence[Key]) -> str:
    """`methods.clip_adapter.ratio[1]`."""
    parts = [f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys]
    return "".join(parts).removeprefix(".")


def place(config: Mapping[str, Any], files: Sequence[str | Path], keys: Sequence[Key]) -> str:
    """`config.yaml:12`: where the keys of a mistake, or as many of them as exist, stand; of several files in the last.

    `--config` where no file has them, or none has the value that is in `config`: it came from the command line.
    """
    found = [(*_find(yaml.compose(read(file)), keys), file) for file in reversed(files)]
    depth, line, file = max(found, key=lambda one: one[0], default=(0, 0, ""))
    complete = depth == len(keys) > 0
    if (
        not file
        or (keys and not depth)
        or (complete and _value(yaml.safe_load(read(file)), keys) != _value(config, keys))
    ):
        return "--config"
    return f"{_shown(file)}:{line}"


def read(file: str | Path) -> str:
    """The text of a study file."""
    return Path(file).read_text(encoding="utf-8")


def _shown(file: str | Path) -> Path:
    """The path as one would type it here."""
    path, here = Path(file), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _value(tree: Any, keys: Sequence[Key]) -> str:
    """What the keys lead to; nothing for a mapping, which may be merged from several places."""
    for key in keys:
        pairs = enumerate(tree) if isinstance(tree, list) else tree.items()
        tree = {str(name): value for name, value in pairs}[str(key)]
    return "" if isinstance(tree, dict) else repr(tree)


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
        for key in _repeated(yaml.compose(read(file))):
            raise UserError(f"{_shown(file)}:{key.start_mark.line + 1}: the key '{key.value}' stands there twice")


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
